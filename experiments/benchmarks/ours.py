"""(a) fedunlearn's local engine, (d) its stacked engine, and FUCRT rounds in place of FedAvg's."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import workloads
from workloads import Workload

from fedunlearn.data.types import Dataset
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.federation.spec import StageSpec
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice
from fedunlearn.settings.schema import plain


def run(
    workload: Workload, dataset: Dataset, mark: Callable[[float], None], engine: str, method: str, device: str
) -> None:
    """All rounds; `mark(accuracy)` before the first and after every one."""
    federation = workloads.federation(workload, dataset, device)
    settings = plain(registry.find("method", method).settings())
    forget = federation.request.classes
    plan = StageSpec("train", 0, method, workload.training, workloads.CLASSES, forget_classes=forget, settings=settings)
    sizes = [int((dataset.test.labels == label).sum()) for label in range(workloads.CLASSES)]

    def after_round(progress: Progress) -> None:
        right = sum(
            accuracy * size for accuracy, size in zip(progress.history[-1]["class_accuracy"], sizes, strict=True)
        )
        mark(right / sum(sizes))

    config = SimpleNamespace(engine=Choice(engine, registry.find("engine", engine).settings()))
    begin = Progress(federation.models.fresh(0).state_dict())
    run_stage(plan, begin, workload.rounds, federation, config, after_round, say=print)  # type: ignore[arg-type]
