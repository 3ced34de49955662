"""CKA against its definition, its invariances, and where the plain estimate misleads."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from fedunlearn.audits.base import Reference
from fedunlearn.audits.similarity import AUDITS, SimilaritySettings, cka, hsic


def normal(seed: int, n: int, d: int) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(seed).normal(size=(n, d))
    return found


def grams(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    x = normal(seed, n, 3)
    y = x @ normal(seed + 1, 3, 2)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return k, m


@pytest.mark.parametrize("n", [4, 6])
def test_hsic_is_the_mean_over_tuples_of_different_samples(n: int) -> None:
    """The U-statistic: E[k_ij m_ij] + E[k_ij] E[m_qr] - 2 E[k_ij m_iq], each over indices that all differ."""
    k, m = grams(0, n)
    tuples = list(permutations(range(n), 4))
    terms = [k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q] for i, j, q, r in tuples]
    assert hsic(k, m) == pytest.approx(np.mean(terms))


@given(st.integers(0, 10_000))
def test_rotation_scale_and_shift_do_not_matter_and_nothing_is_more_alike_than_oneself(seed: int) -> None:
    x, y = normal(seed, 40, 5), normal(seed + 1, 40, 5)
    moved = 3 * x @ ortho_group.rvs(5, random_state=seed) + 7
    assert cka(x, moved) == pytest.approx(1)
    assert cka(x, y) == pytest.approx(cka(y, x))
    assert cka(moved, y) == pytest.approx(cka(x, y))
    assert (cka(x, y) or 0) < 1


def test_unrelated_features_are_near_zero_even_if_there_are_more_of_them_than_samples() -> None:
    found = [cka(normal(seed, 30, 60), normal(seed + 100, 30, 60)) for seed in range(20)]
    assert abs(np.mean([value for value in found if value is not None])) < 0.03
    x, y = (z - z.mean(axis=0) for z in (normal(0, 30, 60), normal(1, 30, 60)))
    plain = np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert plain > 0.6  # what the usual formula would say


def test_constant_features_have_no_similarity() -> None:
    assert cka(np.ones((10, 3)), normal(0, 10, 3)) is None


LABELS = np.tile([0, 1, 2], 20)


def measure(found: Any, retrained: tuple[Any, ...], samples: int = 1000) -> Any:
    reference = Reference(found, retrained, (2,), classes=3, seed=0)
    return AUDITS["similarity"].measure(found, reference, SimilaritySettings(samples))


def test_forget_and_retain_samples_are_compared_apart_with_the_mean_of_the_others(evidence: Any) -> None:
    x = normal(0, 60, 4)
    changed = x.copy()
    changed[LABELS == 2] = normal(1, 20, 4)
    models = [evidence(np.zeros((60, 3)), LABELS, [2], z) for z in (x, changed, normal(2, 60, 4))]
    found = measure(models[0], (models[0], models[1]))  # itself is left out
    assert found["cka_retain"] == pytest.approx(1)
    assert found["cka_forget"] < 0.5
    both = measure(models[2], (models[0], models[1]))
    parts = [measure(models[2], (model,))["cka_forget"] for model in models[:2]]
    assert both["cka_forget"] == pytest.approx(np.mean(parts))


def test_a_subset_is_drawn_where_there_are_many(evidence: Any) -> None:
    models = [evidence(np.zeros((60, 3)), LABELS, [2], normal(seed, 60, 4)) for seed in (0, 1)]
    assert measure(models[0], (models[1],), 15) != measure(models[0], (models[1],))
    assert measure(models[0], (models[1],), 40) != measure(models[0], (models[1],), 39)


def test_not_defined_alone_or_without_samples(evidence: Any) -> None:
    model = evidence(np.zeros((60, 3)), LABELS, [], normal(0, 60, 4))
    other = evidence(np.zeros((60, 3)), LABELS, [], normal(1, 60, 4))
    assert measure(model, (model,)) == {"cka_forget": None, "cka_retain": None}
    below = measure(model, (other,))
    assert below["cka_forget"] is None
    assert below["cka_retain"] is not None
