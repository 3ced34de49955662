"""Dormancy on planted truth: what is only hidden comes back at once, and a retrained model stays as it is."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.audits.base import Evidence
from fedunlearn.audits.continuing import Pace
from fedunlearn.audits.dormancy import AUDITS, FINDINGS, DormancySettings, barrier, curves, distance, said_by
from fedunlearn.models.base import Network

ASKED = DormancySettings(rounds=2, pace=Pace(batch_size=50), samples=400, points=5)


def measure(evidence: Evidence, reference: Any, settings: DormancySettings = ASKED) -> Any:
    return AUDITS["dormancy"].measured(evidence, reference, settings)


def changed(evidence: Evidence, share: float) -> Evidence:
    """With all weights of the encoder longer by that share."""
    model = copy.deepcopy(evidence.model)
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight *= 1 + share
    return replace(evidence, model=model)


@pytest.fixture(scope="module")
def found(trained: Any) -> dict[str, Any]:
    return {name: measure(trained(name), trained.reference) for name in trained.models}


def test_a_masked_class_is_back_and_one_never_learnt_is_not(found: dict[str, Any]) -> None:
    assert found["masked"]["dormant_accuracy"] > 0.9
    assert max(found[f"retrained_{i}"]["dormant_accuracy"] for i in (0, 1)) < 0.8
    assert found["masked"]["dormancy"] > 2 * max(found[f"retrained_{i}"]["dormancy"] for i in (0, 1))


def test_the_masks_size_makes_no_difference_before_the_first_round(found: dict[str, Any]) -> None:
    """Nor does it afterwards, but that weight decay shrinks a large bias."""
    original, masked = found["original"]["dormancy_curves"], found["masked"]["dormancy_curves"]
    for name in ("forget accuracy, raised", "AUSUC", "probe forget accuracy"):
        assert original[name][0] == pytest.approx(masked[name][0], abs=0.02), name


def test_dormancy_is_the_largest_excess_over_the_mean_of_retrained_models(found: dict[str, Any]) -> None:
    by_round = {name: np.array(each["dormancy_curves"]["forget accuracy, raised"]) for name, each in found.items()}
    mean = (by_round["retrained_0"] + by_round["retrained_1"]) / 2
    for name, each in found.items():
        assert each["dormancy"] == pytest.approx((by_round[name] - mean)[1:].max())
        assert each["dormant_accuracy"] == by_round[name][-1]


def test_round_zero_is_the_model_as_it_is(trained: Any, found: dict[str, Any]) -> None:
    evidence = trained("retrained_1")
    retain = ~evidence.test.forget
    right = (evidence.test.logits.argmax(axis=1) == evidence.test.labels)[retain].mean()
    assert found["retrained_1"]["dormancy_curves"]["retain accuracy"][0] == right
    again = said_by(evidence.model, evidence.test)
    assert np.array_equal(again.logits, evidence.test.logits)
    assert np.array_equal(again.score, evidence.test.score)


def test_no_client_trains_on_a_forget_sample(trained: Any) -> None:
    """Other labels for the forget samples would change everything if anybody trained on them."""
    evidence = trained("masked")
    train = evidence.train
    labels = np.where(train.forget, (np.arange(len(train.labels)) % 2), train.labels)
    other = replace(evidence, train=replace(train, targets=labels), notes=type(evidence.notes)())
    one, two = (curves(each, trained.reference, ASKED) for each in (evidence, other))
    assert one["retain accuracy"] == two["retain accuracy"] and one["AUSUC"] == two["AUSUC"]


def test_distance_by_hand(trained: Any, found: dict[str, Any]) -> None:
    assert found["original"]["original_distance"] == found["masked"]["original_distance"] == 0
    assert distance(changed(trained("original"), 0.25).model, trained("original").model) == pytest.approx(0.25)
    assert found["retrained_0"]["original_distance"] > 0.5


def test_there_is_no_barrier_to_the_original_itself(trained: Any, found: dict[str, Any]) -> None:
    assert found["original"]["original_barrier"] == pytest.approx(0, abs=1e-6)
    assert found["masked"]["original_barrier"] == pytest.approx(0, abs=0.01)
    assert found["retrained_0"]["original_barrier"] > 0.005


def test_a_barrier_by_hand(trained: Any) -> None:
    """With its hidden units in reverse order a model says the same; half of each is another model."""
    original = trained("original")
    turned, halfway = copy.deepcopy(original.model), copy.deepcopy(original.model)
    with torch.no_grad():
        for weight, across in ((turned.encoder[1].weight, 0), (turned.encoder[1].bias, 0), (turned.head.weight, 1)):
            weight.copy_(weight.flip(across))
        for own, other in zip(halfway.parameters(), turned.parameters(), strict=True):
            own.copy_((own + other) / 2)
    rows, settings = np.flatnonzero(~original.test.forget), replace(ASKED, points=3)
    labels = torch.as_tensor(original.test.labels[rows])
    before, between = (
        float(nn.functional.cross_entropy(model(original.test.samples.at(rows)), labels).detach())
        for model in (original.model, halfway)
    )
    assert between > before + 0.01
    found = barrier(replace(original, model=turned), trained.reference, settings)
    assert found == pytest.approx(between - before, abs=1e-5)


def test_running_statistics_are_those_of_the_mixed_model(trained: Any) -> None:
    """Two models with the same weights and wrong statistics: with the right ones there is no barrier."""
    original = trained("original")

    def normed(mean: float) -> Evidence:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = [nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU()]
            model = Network(nn.Sequential(*layers), nn.Linear(8, 4)).eval()
        layers[2].running_mean.fill_(mean)  # type: ignore[operator, union-attr]
        return replace(original, model=model)

    reference = replace(trained.reference, original=normed(-3))
    assert barrier(normed(5), reference, ASKED) == pytest.approx(0, abs=1e-6)


def test_the_models_are_left_as_they_were_and_the_result_is_no_chance(trained: Any, found: dict[str, Any]) -> None:
    evidence = replace(trained("retrained_0"), notes=type(trained("original").notes)())
    before = copy.deepcopy(evidence.model.state_dict())
    assert curves(evidence, trained.reference, ASKED) == found["retrained_0"]["dormancy_curves"]
    assert all(torch.equal(value, before[name]) for name, value in evidence.model.state_dict().items())


def test_only_of_classes_and_if_asked_for(trained: Any) -> None:
    original, reference = trained("original"), trained.reference
    assert measure(original, reference, DormancySettings()) == {}
    assert measure(original, replace(reference, forget_classes=())) == dict.fromkeys(FINDINGS)
    assert measure(original, replace(reference, retrained=()))["dormancy"] is None
