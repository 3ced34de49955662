"""Every audit that looks at classes, or at answers, with its models and samples on a device that is not the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from fedunlearn.audits.base import Audit, Evidence, Reference
from fedunlearn.audits.observe import observe
from fedunlearn.data.backdoor import Backdoor
from fedunlearn.data.types import Dataset, Request
from fedunlearn.models.base import build
from fedunlearn.settings import registry
from fedunlearn.settings.schema import parse
from fedunlearn.tasks import base as tasks
from fedunlearn.tasks.base import defined
from tests import elsewhere
from tests.audits.test_attention import DATA, REQUEST, trained
from tests.elsewhere import DEVICE

BRIEFLY: dict[str, dict[str, Any]] = {
    "attention": {"samples": 6},
    "idi": {"samples": 20},
    "svc_mia": {"samples": 40},
    "dormancy": {"rounds": 1},
    "relearning": {"cap": 3, "seeds": 1},
    "feature_map": {"iterations": 250},
    "answer_relearning": {"steps": 1, "seeds": 1},
    **{name: {"samples": 3} for name in ("own_words", "model_utility", "truth_ratio")},
}


@pytest.fixture(autouse=True)
def entered() -> Iterator[None]:
    with elsewhere.entered():
        yield


def audits_of(task: str) -> list[str]:
    return [audit.name for audit in registry.ours("audit") if defined(audit.tasks, task)]


def measured(name: str, reference: Reference) -> dict[str, Any]:
    audit: Audit = registry.find("audit", name)
    settings = parse(audit.settings, BRIEFLY.get(name, {}), "audit")
    return {**audit.measured(reference.retrained[0], reference, settings)}


@pytest.fixture(scope="module")
def classes() -> Reference:
    models = [trained(seed, seed > 0) for seed in range(3)]
    with elsewhere.entered():
        seen = [observe(model, DATA, REQUEST, DEVICE) for model in models]
    parts = tuple(torch.arange(len(DATA.train)).numpy()[start::2] for start in range(2))
    planted = Backdoor(target=0, size=2, share=0.5)
    return replace(reference_of(seen, REQUEST, DATA), parts=parts, backdoor=planted)


def reference_of(seen: list[Evidence], request: Request, data: Dataset) -> Reference:
    return Reference(seen[0], tuple(seen[1:]), request.classes, data.classes, seed=0)


@pytest.mark.parametrize("name", audits_of("classification"))
def test_audits_of_classes(classes: Reference, name: str) -> None:
    assert measured(name, classes) or name in ("u_lira", "klom", "epsilon"), "which need models made for them"


@pytest.fixture(scope="module")
def answers(fictions: Dataset) -> Reference:
    request = Request("class", (fictions.train.groups == 0).numpy(), (0,))
    task, family = tasks.of(fictions), registry.find("model", "decoder")
    settings = parse(family.settings, {"width": 16, "layers": 1, "heads": 2}, "model")
    made = [build("decoder", settings, fictions.sample, lambda width: task.head(width, fictions), s) for s in range(3)]
    with elsewhere.entered():
        return reference_of([observe(model, fictions, request, DEVICE) for model in made], request, fictions)


@pytest.mark.parametrize("name", sorted({*audits_of("language")} - {*audits_of("classification")}))
def test_audits_of_answers(answers: Reference, name: str) -> None:
    assert measured(name, answers)
