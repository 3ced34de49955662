"""The information difference index: whatever is done to the head, it is 1; a retrained model is at 0."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fedunlearn.audits.base import Evidence
from fedunlearn.audits.idi import AUDITS, IdiSettings, bits, index, information

ASKED = IdiSettings(samples=60)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def measure(evidence: Evidence, reference: Any, settings: IdiSettings = ASKED) -> Any:
    return AUDITS["idi"].measured(evidence, reference, settings)


def test_the_index_by_hand() -> None:
    original, retrained = np.array([1.0, 1.0]), np.array([[0.5, 0.5], [0.5, 0.3]])
    assert index(np.array([1.0, 0.5]), original, retrained) == pytest.approx((0.5 + 0.1) / (0.5 + 0.6))
    assert index(np.array([0.2, 0.4]), original, retrained) == pytest.approx(-0.3 / 1.1), "it is signed"
    assert index(original, original, retrained) == 1
    assert index(original, original, original[None]) is None, "the original knows no more than retrained models"
    assert index(original, original, np.empty((0, 2))) is None


def test_a_layer_with_less_outweighs_one_with_more() -> None:
    """Differences are added up with their sign, not cut at 0 layer by layer."""
    original, retrained = np.array([1.0, 1.0]), np.array([[0.5, 0.5]])
    assert index(np.array([0.9, 0.1]), original, retrained) == pytest.approx(0)


def test_features_that_say_nothing_have_no_information(rng: np.random.Generator) -> None:
    truth = np.arange(200) % 4 == 0
    assert bits(np.ones((200, 3)), truth, np.ones((200, 3)), truth) == 0
    noise, other = rng.normal(size=(2, 200, 30))
    assert bits(noise, truth, other, truth) == pytest.approx(0, abs=0.02)


def test_information_by_hand() -> None:
    """One feature of two values: what the regression says of each is all that there is to know."""
    x = np.repeat([0.0, 1.0], [6000, 4000])[:, None]
    is_forgotten = np.concatenate([np.arange(6000) < 600, np.arange(4000) < 3400])
    found = bits(x, is_forgotten, x, is_forgotten)
    of_others, of_forgotten = (np.array(counts) / sum(counts) for counts in ((5400, 600), (600, 3400)))  # x = 0, x = 1
    mean = (of_others + of_forgotten) / 2
    exact = sum(float((each * np.log2(each / mean)).sum()) / 2 for each in (of_others, of_forgotten))
    assert 0.95 * exact < found < exact


def test_how_many_of_each_are_asked_makes_no_difference(rng: np.random.Generator) -> None:
    truth = np.arange(400) % 2 == 0
    x = rng.normal(size=(400, 2)) + truth[:, None]
    few = np.concatenate([np.flatnonzero(truth), np.tile(np.flatnonzero(~truth), 5)])
    assert bits(x, truth, x[few], truth[few]) == pytest.approx(bits(x, truth, x, truth))


def test_the_head_plays_no_part(trained: Any) -> None:
    original = trained("original")
    model = copy.deepcopy(original.model)
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    other = Evidence(model, original.train, original.test)
    assert measure(original, trained.reference)["idi"] == 1
    for evidence in (trained("masked"), other):
        assert measure(evidence, trained.reference) == measure(original, trained.reference)


def test_retrained_models_are_at_zero_and_the_original_far_off(trained: Any) -> None:
    found = [measure(trained(f"retrained_{i}"), trained.reference)["idi"] for i in (0, 1)]
    assert sum(found) == pytest.approx(0)
    assert max(found) < 0.5 < 1


def test_less_than_retrained_models_have_is_below_zero(trained: Any) -> None:
    """An encoder that puts out nothing."""
    empty = copy.deepcopy(trained("original").model)
    with torch.no_grad():
        for weight in empty.encoder.parameters():
            weight.zero_()
    evidence = Evidence(empty, trained("original").train, trained("original").test)
    found = measure(evidence, trained.reference)
    assert found["idi_layers"]["information (bits)"] == [0.0]
    assert found["idi"] < 0


def test_the_information_is_that_of_the_features(trained: Any) -> None:
    """This encoder has one layer: the same regression on the features that all audits see."""
    evidence = trained("retrained_0")
    train, test, everything = evidence.train, evidence.test, IdiSettings(samples=1000)
    found = information(evidence, trained.reference, everything)
    expected = bits(train.features, train.forget, test.features, test.forget)
    assert found.tolist() == pytest.approx([expected], abs=1e-6)


def test_the_seed_draws_the_samples_and_the_model_is_left_as_it_was(trained: Any) -> None:
    evidence, settings = trained("retrained_0"), IdiSettings(samples=20)
    before = copy.deepcopy(evidence.model.state_dict())
    found = [measure(evidence, replace(trained.reference, seed=seed), settings)["idi"] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert all(torch.equal(value, before[name]) for name, value in evidence.model.state_dict().items())


def test_only_of_classes_with_retrained_models_and_if_asked_for(trained: Any) -> None:
    original, reference = trained("original"), trained.reference
    assert measure(original, reference, IdiSettings()) == {}
    assert measure(original, replace(reference, forget_classes=())) == {"idi": None, "idi_layers": None}
    alone = measure(original, replace(reference, retrained=()))
    assert alone["idi"] is None and alone["idi_layers"]["layer"] == [1]
