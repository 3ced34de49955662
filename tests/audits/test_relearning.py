"""Relearning: what is hidden comes back at once, what was never learnt takes time; and the model stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedunlearn.audits.base import Reference
from fedunlearn.audits.relearning import AUDITS, RelearningSettings, unmasked

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
