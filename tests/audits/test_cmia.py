"""Class membership by neighbours: which class is the neighbour, and how well forget samples are told from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedunlearn.audits.base import Reference
from fedunlearn.audits.cmia import AUDITS, FINDINGS, CmiaSettings, neighbour

LABELS = np.repeat([0, 1, 2, 3], 40)  # class 2 is forgotten


def outputs(seed: int, apart: float, near: int = 1) -> np.ndarray:
    """Logits [160, 4]: forget samples look like those of class `near`, moved by `apart` in the logit of class 0."""
    likely = np.where(LABELS == 2, near, LABELS)
    logits = 4 * np.eye(4)[likely] + np.random.default_rng(seed).normal(size=(160, 4))
    logits[LABELS == 2, 0] += apart
    return logits


def measure(found: Any, retrained: tuple[Any, ...], forget: tuple[int, ...] = (2,), **settings: Any) -> Any:
    reference = Reference(found, retrained, forget, classes=4, seed=0)
    return AUDITS["cmia"].measure(found, reference, CmiaSettings(**settings))


def test_the_neighbour_is_what_retrained_models_find_likeliest_on_average(evidence: Any) -> None:
    logits = np.zeros((4, 4))
    one = logits.copy()
    one[2] = np.log([0.4, 0.3, 0.2, 0.1])
    other = logits.copy()
    other[2] = np.log([0.05, 0.3, 0.6, 0.05])  # mean: 0.225, 0.3, (0.4), 0.075
    retrained = tuple(evidence(z, [0, 1, 2, 3], [2]) for z in (one, other))
    assert neighbour(2, Reference(retrained[0], retrained, (2,), 4, 0)) == 1


def test_one_distribution_is_chance_and_two_are_told_apart(evidence: Any) -> None:
    retrained = (evidence(outputs(9, 0), LABELS, [2]),)
    same, apart = (measure(evidence(outputs(0, d), LABELS, [2]), retrained)["cmia_auc"] for d in (0, 8))
    assert same == pytest.approx(0.5, abs=0.12)
    assert apart > 0.98


def test_the_distance_is_to_the_mean_of_the_other_retrained_models(evidence: Any) -> None:
    models = [evidence(outputs(seed, apart), LABELS, [2]) for seed, apart in enumerate((0, 1, 2, 8))]
    aucs = [measure(model, tuple(models[:3]))["cmia_auc"] for model in models]
    found = measure(models[3], tuple(models[:3]))["cmia_distance"]
    assert found == pytest.approx(abs(aucs[3] - np.mean(aucs[:3])))
    own = measure(models[0], tuple(models[:3]))["cmia_distance"]
    assert own == pytest.approx(abs(aucs[0] - np.mean(aucs[1:3])))


def test_masking_the_head_changes_nothing(evidence: Any) -> None:
    retrained = tuple(evidence(outputs(seed, 2), LABELS, [2]) for seed in (8, 9))
    plain = outputs(0, 1).astype(np.float32)
    found = [measure(evidence(z, LABELS, [2]), retrained) for z in (plain, plain - np.float32([0, 0, 1000, 0]))]
    assert found[0] == found[1]


def test_scale_of_a_logit_does_not_matter(evidence: Any) -> None:
    retrained = (evidence(outputs(9, 2), LABELS, [2]),)
    plain = outputs(0, 1)
    found = [measure(evidence(z, LABELS, [2]), retrained)["cmia_auc"] for z in (plain, plain * [1, 100, 1, 1] + 7)]
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_not_defined_without_classes_or_references(evidence: Any) -> None:
    found = evidence(outputs(0, 1), LABELS, [2])
    assert measure(found, ()) == dict.fromkeys(FINDINGS)
    assert measure(found, (found,), forget=()) == dict.fromkeys(FINDINGS)
    alone = measure(found, (found,))
    assert alone["cmia_auc"] is not None
    assert alone["cmia_distance"] is None
