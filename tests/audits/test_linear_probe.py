"""The probe finds classes that are in the features, whatever the head says, and none that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fedunlearn.audits.base import Reference
from fedunlearn.audits.linear_probe import AUDITS, LinearProbeSettings, stratified

FORGET = 2


def features(rng: np.random.Generator, labels: np.ndarray, *, collapsed: bool = False) -> np.ndarray:
    """Four clusters in eight dimensions, one of them constant; if collapsed, class 2 lies on top of class 1."""
    centres = 6 * np.eye(4, 8)
    if collapsed:
        centres[FORGET] = centres[1]
    z: np.ndarray = centres[labels] + rng.normal(size=(len(labels), 8))
    z[:, 7] = 123.456
    return z


def measure(found: Any, samples: int = 200, forget: tuple[int, ...] = (FORGET,), seed: int = 0) -> Any:
    reference = Reference(found, (), forget, classes=int(found.test.labels.max()) + 1, seed=seed)
    return AUDITS["linear_probe"].measure(found, reference, LinearProbeSettings(samples))


@pytest.fixture
def labels() -> np.ndarray:
    return np.tile(np.arange(4), 100)


def test_a_class_that_the_head_hides_is_found(evidence: Any, labels: np.ndarray) -> None:
    masked = np.tile([0.0, 0.0, -1000.0, 0.0], (400, 1))
    found = measure(evidence(masked, labels, [FORGET], features(np.random.default_rng(0), labels)))
    assert found["probe_forget_accuracy"] > 0.97
    assert found["probe_accuracy"] > 0.97


def test_a_class_that_is_not_in_the_features_is_not_found(evidence: Any) -> None:
    labels = np.tile([0, 1, 1, 1, FORGET, 3], 100)  # where 1 and 2 look alike, 1 is the better guess
    z = features(np.random.default_rng(0), labels, collapsed=True)
    found = measure(evidence(np.zeros((600, 4)), labels, [FORGET], z), samples=600)
    assert found["probe_forget_accuracy"] < 0.05
    assert found["probe_accuracy"] == pytest.approx(5 / 6, abs=0.03)


def test_features_that_are_all_constant_are_chance(evidence: Any, labels: np.ndarray) -> None:
    assert measure(evidence(np.zeros((400, 4)), labels, [FORGET], np.ones((400, 3))))["probe_accuracy"] == 0.25


def test_scale_and_shift_of_a_feature_do_not_matter(evidence: Any, labels: np.ndarray) -> None:
    z = features(np.random.default_rng(0), labels)
    # what tells the classes apart becomes tiny, the noise large
    scaled = z * [1e-4, 1e-4, 1e-4, 1e-4, 10, 10, 10, 1] + [0, 0.1, 0, 0, 0, 0, -50, 0]
    one, other = (measure(evidence(np.zeros((400, 4)), labels, [FORGET], values)) for values in (z, scaled))
    assert one["probe_accuracy"] == pytest.approx(other["probe_accuracy"], abs=0.005)


def test_the_seed_of_the_reference_decides(evidence: Any, labels: np.ndarray) -> None:
    found = evidence(np.zeros((400, 4)), labels, [FORGET], features(np.random.default_rng(0), labels, collapsed=True))
    results = [measure(found, samples=40, seed=seed)["probe_accuracy"] for seed in (0, 0, 1, 2, 3)]
    assert results[0] == results[1]
    assert len(set(results)) > 1


def test_below_class_level_only_the_overall_accuracy(evidence: Any, labels: np.ndarray) -> None:
    found = measure(evidence(np.zeros((400, 4)), labels, (), features(np.random.default_rng(0), labels)), forget=())
    assert found["probe_forget_accuracy"] is None
    assert found["probe_accuracy"] > 0.97


def test_real_digits(evidence: Any) -> None:
    pixels, digits = load_digits(return_X_y=True)
    found = measure(evidence(pixels[:, :10], digits, [8], pixels), samples=900, forget=(8,))
    assert found["probe_accuracy"] > 0.95
    assert 0.8 < found["probe_forget_accuracy"] < 1


def test_the_subset_keeps_every_class_and_its_share() -> None:
    labels = np.repeat([0, 1, 2], [600, 399, 1])
    chosen = stratified(labels, 100, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [60, 40, 1]
    assert (np.diff(chosen) > 0).all()
    assert not np.array_equal(chosen, stratified(labels, 100, np.random.default_rng(1)))
    assert np.array_equal(stratified(labels, 5000, np.random.default_rng(0)), np.arange(1000))
