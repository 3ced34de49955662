"""Relearning: what is hidden comes back at once, what was never learnt takes time; and the model stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedunlearn.audits.base import Evidence, Reference
from fedunlearn.audits.relearning import AUDITS, Exam, RelearningSettings, unmasked
from fedunlearn.randomness import numpy_stream

QUICK = {"shots": (4,), "seeds": 2, "batch_size": 8, "lr": 0.02}


def measure(trained: Any, name: str, **settings: Any) -> Any:
    return AUDITS["relearning"].measure(trained(name), trained.reference, RelearningSettings(**{**QUICK, **settings}))


def test_a_masked_model_relearns_at_once_and_a_retrained_one_does_not(trained: Any) -> None:
    found = {name: measure(trained, name) for name in ("original", "masked", "retrained_0", "retrained_1")}
    assert found["original"]["relearn_batches"] == found["masked"]["relearn_batches"] == 0
    assert min(found[f"retrained_{i}"]["relearn_batches"] for i in (0, 1)) > 1
    assert found["masked"]["fewshot_4_accuracy"] > found["retrained_0"]["fewshot_4_accuracy"]


def test_it_is_learnt_in_the_end_and_sooner_with_a_larger_rate(trained: Any) -> None:
    slow, fast = (measure(trained, "retrained_0", lr=lr)["relearn_batches"] for lr in (0.02, 0.2))
    assert 0 < fast < slow < RelearningSettings().cap


def test_the_attacker_gives_up_at_the_cap(trained: Any) -> None:
    assert measure(trained, "retrained_0", lr=1e-6, cap=3)["relearn_batches"] == 3


def test_more_steps_bring_back_more(trained: Any) -> None:
    few, many = (measure(trained, "retrained_0", steps=steps)["fewshot_4_accuracy"] for steps in (1, 40))
    assert many > few


def test_no_step_is_the_unmasked_model(trained: Any) -> None:
    """The first of the two numbers that batches_until compares is that of a model that was not trained."""
    model = unmasked(trained("masked"), [1], cost=0.01)
    test = trained("masked").test
    with torch.no_grad():
        right = (model(test.samples.at(test.forget.nonzero()[0])).argmax(1) == 1).float().mean()
    assert right == 1


def test_the_model_is_left_as_it_was_and_the_result_does_not_depend_on_chance(trained: Any) -> None:
    before = {key: value.clone() for key, value in trained("original").model.state_dict().items()}
    first, second = measure(trained, "original"), measure(trained, "original")
    assert first == second
    assert all(torch.equal(value, before[key]) for key, value in trained("original").model.state_dict().items())


def test_the_seed_draws_other_samples(trained: Any) -> None:
    found = []
    for seed in (0, 1):
        reference = Reference(trained("original"), (), (1,), 4, seed)
        settings = RelearningSettings(**{**QUICK, "lr": 0.01})
        found.append(AUDITS["relearning"].measure(trained("retrained_0"), reference, settings))
    assert found[0] != found[1]


def test_not_defined_below_class_level(trained: Any) -> None:
    reference = Reference(trained("original"), (), (), 4, 0)
    found = AUDITS["relearning"].measure(trained("original"), reference, RelearningSettings(shots=(5, 10)))
    assert found == {"relearn_batches": None, "fewshot_5_accuracy": None, "fewshot_10_accuracy": None}


@pytest.mark.parametrize("shots", [1, 500])
def test_any_number_of_shots_is_possible(trained: Any, shots: int) -> None:
    assert 0 <= measure(trained, "retrained_0", shots=(shots,))[f"fewshot_{shots}_accuracy"] <= 1


def by_brute_force(evidence: Evidence, reference: Reference, settings: RelearningSettings) -> dict[str, float]:
    """As the attack is described: PyTorch's own SGD, and every test sample asked after every step."""
    train, test, found = evidence.train, evidence.test, []
    goal = float((reference.original.test.logits.argmax(1) == test.labels)[test.forget].mean()) - settings.margin
    for seed in range(settings.seeds):
        stream = (reference.seed, "audit", "relearning", seed)
        asked = np.sort(numpy_stream(*stream, "test").permutation(np.flatnonzero(test.forget))[: settings.test_samples])

        def right(model: nn.Module, asked: np.ndarray = asked) -> float:
            with torch.no_grad():
                said = model(test.samples.at(asked)).argmax(1)
            return float((said == torch.as_tensor(test.labels[asked])).float().mean())

        def trained(forget: np.ndarray, stream: Any = stream) -> Iterator[nn.Module]:
            model = unmasked(evidence, list(reference.forget_classes), settings.cost)
            optimiser = torch.optim.SGD(model.parameters(), settings.lr)
            batches, half = numpy_stream(*stream, "batches"), settings.batch_size // 2
            while True:
                yield model
                pools = forget, np.flatnonzero(~train.forget)
                rows = np.concatenate([batches.choice(pool, half, replace=len(pool) < half) for pool in pools])
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(model(train.samples.at(rows)), torch.as_tensor(train.labels[rows]))
                torch.autograd.backward(loss)
                optimiser.step()

        everything = np.flatnonzero(train.forget)
        steps = enumerate(trained(everything))
        batches = next(count for count, model in steps if count == settings.cap or right(model) >= goal)
        shown = [numpy_stream(*stream, shots).permutation(everything)[:shots] for shots in settings.shots]
        after = [right(next(islice(trained(few), settings.steps, None))) for few in shown]
        found.append([batches, *after])
    names = ["relearn_batches", *(f"fewshot_{shots}_accuracy" for shots in settings.shots)]
    return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))


@pytest.mark.parametrize("name", ["original", "masked", "retrained_0", "retrained_1"])
@pytest.mark.parametrize("lr", [0.005, 0.02, 0.1])
def test_the_findings_are_those_of_a_slow_attack(trained: Any, name: str, lr: float) -> None:
    settings = RelearningSettings(lr=lr, batch_size=8, shots=(4, 12), seeds=3, cap=60, margin=0.05)
    found = AUDITS["relearning"].measure(trained(name), trained.reference, settings)
    assert found == pytest.approx(by_brute_force(trained(name), trained.reference, settings), abs=1e-6)


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=12, max_size=12), min_size=1, max_size=6),
    st.floats(-0.1, 1.0),
)
def test_an_exam_asks_less_and_says_the_same(rounds: list[list[int]], goal: float) -> None:
    """A model that answers by a table, other answers after every step; class 0 of equal logits is the first."""
    labels = torch.arange(12) % 2
    exam = Exam({"rows": torch.arange(12)}, labels, goal)
    for answers in rounds:
        logits = torch.stack([torch.zeros(12), torch.tensor(answers, dtype=torch.float32)], dim=1)
        share = float((logits.argmax(1) == labels).float().mean())
        assert exam.is_passed_by(lambda inputs, logits=logits: logits[inputs["rows"]]) == (share >= goal)  # type: ignore[arg-type, misc]


def test_an_exam_ends_with_those_that_failed_before() -> None:
    asked = []

    class Wrong(nn.Module):
        def forward(self, inputs: Any) -> torch.Tensor:
            asked.append(len(inputs["rows"]))
            return torch.eye(2)[1 - torch.zeros(len(inputs["rows"]), dtype=torch.long)]

    exam = Exam({"rows": torch.arange(200)}, torch.zeros(200, dtype=torch.long), goal=0.9)
    assert not exam.is_passed_by(Wrong())
    assert sum(asked) < 40, "20 may fail"
