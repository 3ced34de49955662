"""The curve by hand and by brute force, what does not change its area, and leaks that were planted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedunlearn.audits.ausuc import AUDITS, AusucSettings, area, curve, recovered
from fedunlearn.audits.base import Reference

# Classes 0 and 1 stay, 2 is forgotten. Thresholds of gamma: 1, 3, 2 and -1; the last sample is never right, the
# others change as gamma passes 1 (lost), 2 (won) and 3 (lost).
LOGITS = np.array([[4, 0, 3], [1, 5, 2], [3, 0, 1], [2, 1, 3]])
LABELS = np.array([0, 1, 2, 1])


def test_four_samples_by_hand(view: Any) -> None:
    # gamma in (-inf, -1), (-1, 1), (1, 2), (2, 3), (3, inf)
    retain, forget = curve(LOGITS, LABELS, [2])
    assert retain.tolist() == [2 / 3, 2 / 3, 1 / 3, 1 / 3, 0]
    assert forget.tolist() == [0, 0, 0, 1, 1]
    four = view(LOGITS, LABELS, [2])
    assert area(four, [2]) == pytest.approx(1 / 3)
    assert recovered(four, [2]) == 0  # 2/3 now; the sample comes back at 1/3


def test_samples_with_one_threshold_change_together(view: Any) -> None:
    tied = view([[1, 0, 0], [0, 1, 0], [1, 0, 0]], [0, 1, 2], [2])
    retain, forget = curve(tied.logits, tied.labels, [2])
    assert (retain.tolist(), forget.tolist()) == ([1, 0], [0, 1])
    assert area(tied, [2]) == 0.5


def test_a_separable_model_has_area_one(view: Any) -> None:
    logits = np.array([[9, 0, -99], [0, 9, -99], [0, 0, -50], [0, 0, -40]])  # masked, yet in perfect order
    assert area(view(logits, [0, 1, 2, 2], [2]), [2]) == 1
    assert recovered(view(logits - [0, 0, 1000], [0, 1, 2, 2], [2]), [2]) == 1


def test_recovered_allows_a_cost_of_five_points_and_not_more(view: Any) -> None:
    # twenty retain samples with thresholds 1, 2, ..., 20, and forget samples at 0.5, 1.5 and 2.5
    logits = [[t, 0] for t in [*range(1, 21), 0.5, 1.5, 2.5]]
    assert recovered(view(logits, [0] * 20 + [1] * 3, [1]), [1]) == pytest.approx(2 / 3)


def brute_force(logits: np.ndarray, labels: np.ndarray, forget: Collection[int]) -> list[tuple[float, float]]:
    """Accuracies at every gamma of a grid between and beyond all differences of two logits."""
    differences = np.unique(logits[:, :, None] - logits[:, None, :])
    grid = [differences[0] - 1, *(differences[1:] + differences[:-1]) / 2, differences[-1] + 1]
    of_forgotten, chosen = np.isin(labels, list(forget)), np.isin(np.arange(logits.shape[1]), list(forget))
    rights = [(logits + gamma * chosen).argmax(axis=1) == labels for gamma in grid]
    points = [(float(right[~of_forgotten].mean()), float(right[of_forgotten].mean())) for right in rights]
    return list(dict.fromkeys(points))


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Logits in eighths (differences are exact in any float), labels with both kinds of class, one or two forgotten."""
    classes, samples = draw(st.integers(3, 5)), draw(st.integers(2, 12))
    forget = draw(st.sampled_from([[0], [1], [classes - 1], [0, classes - 1]]))
    eighths = draw(arrays(np.int64, (samples, classes), elements=st.integers(-40, 40)))
    labels = draw(arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    labels[:2] = forget[-1], next(c for c in range(classes) if c not in forget)
    return (eighths / 8).astype(np.float32), labels, forget


@settings(max_examples=150)
@given(cases())
def test_the_sweep_agrees_with_brute_force(case: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
    points = list(dict.fromkeys(zip(*(values.tolist() for values in curve(*case)), strict=True)))
    assert points == brute_force(*case)


@settings(max_examples=100)
@given(cases(), st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_constants_change_nothing(
    view: Any, case: tuple[np.ndarray, np.ndarray, list[int]], to_all: int, to_forget: int
) -> None:
    logits, labels, forget = case
    moved = logits + np.float32(to_all)
    moved[:, forget] += np.float32(to_forget)
    for before, after in zip(curve(logits, labels, forget), curve(moved, labels, forget), strict=True):
        assert before.tolist() == after.tolist()
    if to_forget == 0:
        assert recovered(view(*case), forget) == recovered(view(moved, labels, forget), forget)


@settings(max_examples=100)
@given(cases())
def test_the_curve_runs_from_no_forget_sample_to_no_retain_sample(
    view: Any, case: tuple[np.ndarray, np.ndarray, list[int]]
) -> None:
    logits, labels, forget = case
    retain, forgotten = curve(*case)
    assert (np.diff(retain) <= 0).all()
    assert (np.diff(forgotten) >= 0).all()
    assert retain[-1] == forgotten[0] == 0
    stays = [c for c in range(logits.shape[1]) if c not in forget]
    kept = np.isin(labels, stays)
    assert retain[0] == (np.array(stays)[logits[kept][:, stays].argmax(axis=1)] == labels[kept]).mean()
    assert forgotten[-1] == (np.array(forget)[logits[~kept][:, forget].argmax(axis=1)] == labels[~kept]).mean()
    assert 0 <= area(view(*case), forget) <= 1


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        curve(np.array([[1, -np.inf], [0, 1]]), np.array([0, 1]), [1])


# Planted truth: 1,000 samples of five classes; class 3 is forgotten.
MASK = np.array([0, 0, 0, 1000, 0], dtype=np.float32)


def model(forget_margin: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy logits that tell retain classes apart well, and the forgotten one as well as its margin says."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(5), 200)
    margins = np.array([4, 4, 4, forget_margin, 4])
    return (rng.normal(size=(1000, 5)) + np.diag(margins)[labels]).astype(np.float32), labels


def audit(found: Any, original: Any, retrained: tuple[Any, ...], forget: tuple[int, ...] = (3,)) -> Any:
    reference = Reference(original, retrained, forget, classes=5, seed=0)
    return AUDITS["ausuc"].measure(found, reference, AusucSettings())


def test_a_masked_head_leaks_everything(evidence: Any) -> None:
    logits, labels = model(4, seed=0)
    original = evidence(logits, labels, [3])
    masked = evidence(logits - MASK, labels, [3])
    retrained = evidence(*model(0.5, seed=1), [3])
    before, after = audit(original, original, (retrained,)), audit(masked, original, (retrained,))
    assert (masked.test.logits.argmax(axis=1) != 3).all()
    assert before["leak"] == 1
    assert after["leak"] == pytest.approx(1, abs=1e-3)
    assert after["ausuc"] == pytest.approx(before["ausuc"], abs=1e-4)
    assert after["gamma_recovered"] > 0.9


def test_leak_lies_between_retrained_and_original(evidence: Any) -> None:
    margins = {"original": 4.0, "one": 0.5, "other": 1.0, "half": 2.0}
    models = {name: evidence(*model(margin, seed=0), [3]) for name, margin in margins.items()}
    original, retrained = models["original"], (models["one"], models["other"])
    areas = {name: area(found.test, [3]) for name, found in models.items()}
    mean = (areas["one"] + areas["other"]) / 2
    leaks = {name: audit(found, original, retrained)["leak"] for name, found in models.items()}
    assert (leaks["one"] + leaks["other"]) / 2 == pytest.approx(0, abs=1e-12)
    assert leaks["half"] == pytest.approx((areas["half"] - mean) / (areas["original"] - mean))
    assert 0 < leaks["half"] < leaks["original"] == 1


def test_leak_needs_a_reference_that_the_original_is_better_than(evidence: Any) -> None:
    good, bad = evidence(*model(4, seed=0), [3]), evidence(*model(0, seed=0), [3])
    assert audit(good, good, ())["leak"] is None
    assert audit(good, good, (good,))["leak"] is None
    assert audit(good, bad, (good,))["leak"] is None
    assert audit(good, good, ())["ausuc"] is not None


def test_below_class_level_nothing_is_defined(evidence: Any) -> None:
    found = evidence(*model(4, seed=0))
    assert audit(found, found, (found,), forget=()) == {"ausuc": None, "leak": None, "gamma_recovered": None}
