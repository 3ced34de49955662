"""fedunlearn's engines: `local` as it comes, with options, stacked, and FUCRT rounds in place of FedAvg's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from experiments.benchmarks import workloads
from experiments.benchmarks.workloads import Workload
from fedunlearn.data.types import Dataset
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.federation.spec import StageSpec
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice
from fedunlearn.settings.schema import parse, plain


@dataclass(frozen=True)
class Way:
    """An engine and the method whose rounds it runs, each with options that differ from its defaults."""

    engine: str = "local"
    method: str = "fedavg"
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


WAYS = {
    "local": Way(),
    "local_1": Way(options={"workers": 1}),
    "threads": Way(options={"backend": "threads"}),
    "processes": Way(options={"backend": "processes"}),
    "stacked": Way("stacked"),
    "fucrt": Way(method="fucrt"),
    "fucrt_trained": Way(method="fucrt", settings={"prototypes_by": "trained"}),
}


def run(workload: Workload, dataset: Dataset, mark: Callable[[float], None], way: Way, device: str) -> None:
    """All rounds; `mark(accuracy)` before the first and after every one."""
    federation = workloads.federation(workload, dataset, device)
    settings = plain(parse(registry.find("method", way.method).settings, way.settings, "method"))
    forget = federation.request.classes
    plan = StageSpec(
        "train", 0, way.method, workload.training, workloads.CLASSES, forget_classes=forget, settings=settings
    )
    sizes = torch.bincount(dataset.test.groups, minlength=workloads.CLASSES)

    def after_round(progress: Progress) -> None:
        scores = torch.tensor(progress.history[-1]["scores"])
        mark(float((scores * sizes).sum() / sizes.sum()))

    engine = parse(registry.find("engine", way.engine).settings, way.options, "engine")
    config = SimpleNamespace(engine=Choice(way.engine, engine), train=workload.training)
    begin = Progress(federation.models.fresh(0).state_dict())
    run_stage(plan, begin, workload.rounds, federation, config, after_round, say=print)  # type: ignore[arg-type]
