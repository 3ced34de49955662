"""The prototype attack by hand, its bias against brute force, and head masking, which does not ward it off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedunlearn.audits.base import Reference
from fedunlearn.audits.prototype_relearning import (
    AUDITS,
    FINDINGS,
    PrototypeSettings,
    accuracies,
    highest_bias,
    mixed,
    prototypes,
)

FORGOTTEN = np.array([False, False, True])


def measure(found: Any, forget: tuple[int, ...] = (2,), seed: int = 0, **settings: Any) -> Any:
    reference = Reference(found, (), forget, classes=found.test.logits.shape[1], seed=seed)
    return AUDITS["prototype_relearning"].measure(found, reference, PrototypeSettings(**settings))


def test_a_prototype_is_the_unit_mean_of_so_many_samples(view: Any) -> None:
    shown = view(np.zeros((4, 3)), [2, 0, 2, 1], [2], features=[[6, 0], [1, 1], [0, 8], [2, 2]])
    both = prototypes(shown, (2, 0), 5, np.random.default_rng(0))
    assert both == pytest.approx(np.array([[0.6, 0.8], [np.sqrt(0.5), np.sqrt(0.5)]]))
    one = prototypes(shown, (2,), 1, np.random.default_rng(0))
    assert one.tolist() in ([[1.0, 0.0]], [[0.0, 1.0]])


def test_mixing_moves_only_the_forgotten_logits(view: Any) -> None:
    shown = view([[1, 2, -8]], [2], [2], features=[[3, 4]])
    assert mixed(shown, (2,), np.array([[1.0, 0.0]]), 0.25).tolist() == [[1, 2, 0.25 * 3 - 0.75 * 8]]


def test_the_bias_by_hand() -> None:
    # retain samples are right by 1, 2, 3 and 4; the fifth is wrong, the sixth is a forget sample
    logits = np.array([[1, 0, 0], [2, 0, 0], [0, 3, 0], [0, 4, 0], [5, 0, 0], [0, 0, 9]], dtype=float)
    labels = np.array([0, 0, 1, 1, 1, 2])
    assert highest_bias(logits, labels, FORGOTTEN, least=4 / 5) == 1  # at 1 the first is still right (a tie)
    assert highest_bias(logits, labels, FORGOTTEN, least=2 / 5) == 3
    assert highest_bias(logits, labels, FORGOTTEN, least=1.0) == 1  # cannot be had: what costs nothing
    assert highest_bias(logits, labels, FORGOTTEN, least=-1.0) == 4


grids = arrays(float, (8, 3), elements=st.integers(-4, 4))


@given(grids, st.permutations([0, 0, 0, 1, 1, 1, 2, 2]), st.floats(0.01, 1))
def test_a_hair_less_keeps_the_accuracy_and_a_hair_more_does_not(
    logits: np.ndarray, order: list[int], least: float
) -> None:
    labels, hair = np.array(order), 1e-6 * FORGOTTEN
    _, at_most = accuracies(logits - 99 * FORGOTTEN, labels, FORGOTTEN)
    found = highest_bias(logits, labels, FORGOTTEN, least) * FORGOTTEN
    if at_most >= least:
        assert accuracies(logits + found - hair, labels, FORGOTTEN)[1] >= least
        assert accuracies(logits + found + hair, labels, FORGOTTEN)[1] < least
    elif at_most > 0:
        assert accuracies(logits + found - hair, labels, FORGOTTEN)[1] == at_most


def clusters(seed: int, *, merged: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and logits of three classes; if merged, class 2 lies in the midst of class 1."""
    stream, labels = np.random.default_rng(seed), np.tile([0, 1, 2], 100)
    centres = 6 * np.eye(3)
    if merged:
        centres[2] = centres[1]
    features = centres[labels] + stream.normal(size=(300, 3))
    logits = features.copy()
    logits[:, 2] = 0
    return features, labels, logits


def test_a_class_that_is_still_a_cluster_comes_back_and_one_that_is_not_does_not(evidence: Any) -> None:
    found = {}
    for merged in (False, True):
        features, labels, logits = clusters(0, merged=merged)
        found[merged] = measure(evidence(logits, labels, [2], features))
    assert found[False]["prototype_forget_accuracy"] > 0.9
    assert found[True]["prototype_forget_accuracy"] < 0.3
    assert all(after["prototype_retain_accuracy"] > 0.9 for after in found.values())


def test_a_masked_head_does_not_ward_it_off(trained: Any) -> None:
    found = {name: measure(trained(name), forget=(1,)) for name in ("original", "masked", "retrained_0")}
    assert found["masked"]["prototype_forget_accuracy"] == found["original"]["prototype_forget_accuracy"] > 0.9
    assert found["retrained_0"]["prototype_forget_accuracy"] < 0.9


def test_the_seed_draws_the_samples(evidence: Any) -> None:
    features, labels, logits = clusters(0, merged=True)
    shown = evidence(logits, labels, [2], features)
    found = [measure(shown, seed=seed, samples=1, cost=0.3)["prototype_forget_accuracy"] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_not_defined_below_class_level(evidence: Any) -> None:
    assert measure(evidence(np.eye(3), [0, 1, 2]), forget=()) == dict.fromkeys(FINDINGS)
