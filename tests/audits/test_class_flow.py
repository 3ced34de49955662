"""Class flow by hand, against scipy, and where a planted model sends everything to one class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from fedunlearn.audits.base import Reference
from fedunlearn.audits.class_flow import AUDITS, FINDINGS, ClassFlowSettings, total_variation
from fedunlearn.audits.divergence import jensen_shannon

LABELS = [0, 1, 2, 3, 2, 2, 2]  # class 2 is forgotten


def predicting(*classes: int) -> np.ndarray:
    """Logits [7, 4]: retain samples are right, the four forget samples are taken for `classes`."""
    zero, one, two, three = classes
    return 5 * np.eye(4)[[0, 1, zero, 3, one, two, three]]


def measure(found: Any, retrained: tuple[Any, ...], forget: tuple[int, ...] = (2,)) -> Any:
    reference = Reference(found, retrained, forget, classes=4, seed=0)
    return AUDITS["class_flow"].measure(found, reference, ClassFlowSettings())


def test_shares_by_hand(evidence: Any) -> None:
    logits = predicting(2, 2, 1, 0)
    logits[2] = [1, 0, 7, 2]  # second choice 3
    logits[4] = [1, 3, 7, 2]  # second choice 1
    found = measure(evidence(logits, LABELS, [2]), ())
    assert found["class_flow"] == [0.25, 0.25, 0.5, 0]
    assert found["class_flow_retain"] == [0.25, 0.5, 0, 0.25]
    assert found["flow_tv"] is None
    assert found["flow_js"] is None


def test_divergences_by_hand(evidence: Any) -> None:
    everything_to_one = evidence(predicting(1, 1, 1, 1), LABELS, [2])
    retrained = (
        evidence(predicting(0, 0, 1, 1), LABELS, [2]),  # mean of the two: 1/2, 3/8, -, 1/8
        evidence(predicting(0, 0, 1, 3), LABELS, [2]),
    )
    found = measure(everything_to_one, retrained)
    assert found["flow_tv"] == pytest.approx(5 / 8)
    p, q = np.array([0, 1, 0]), np.array([4, 3, 1]) / 8
    m = (p + q) / 2
    by_hand = 0.5 * np.log2(1 / m[1]) + 0.5 * (q * np.log2(q / m)).sum()
    assert found["flow_js"] == pytest.approx(by_hand)


def test_as_retrained_is_zero_and_disjoint_is_one(evidence: Any) -> None:
    one, other = evidence(predicting(0, 1, 1, 3), LABELS, [2]), evidence(predicting(1, 3, 0, 1), LABELS, [2])
    same = measure(one, (other,))
    assert (same["flow_tv"], same["flow_js"]) == (0, 0)
    disjoint = measure(evidence(predicting(0, 0, 0, 0), LABELS, [2]), (evidence(predicting(1, 1, 3, 3), LABELS, [2]),))
    assert (disjoint["flow_tv"], disjoint["flow_js"]) == (1, pytest.approx(1))


def test_masking_the_head_does_not_change_what_is_compared(evidence: Any) -> None:
    logits = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    masked = logits - np.array([0, 0, 1000, 0], dtype=np.float32)
    retrained = (evidence(predicting(0, 1, 1, 3), LABELS, [2]),)
    before, after = (measure(evidence(values, LABELS, [2]), retrained) for values in (logits, masked))
    for name in ("class_flow_retain", "flow_confidence", "flow_tv", "flow_js"):
        assert before[name] == after[name]
    assert after["class_flow"] == after["class_flow_retain"]


def test_confidence_is_among_retain_classes(evidence: Any) -> None:
    logits = predicting(0, 0, 0, 0)
    logits[[2, 4, 5, 6]] = np.log(np.array([[2, 1, 1000, 1], [2, 1, 5, 1], [1, 1, 1, 8], [1, 1, 0.1, 8]]))
    assert measure(evidence(logits, LABELS, [2]), ())["flow_confidence"] == pytest.approx((0.5 + 0.5 + 0.8 + 0.8) / 4)


def test_below_class_level_nothing_is_defined(evidence: Any) -> None:
    found = measure(evidence(predicting(0, 1, 2, 3), LABELS), (evidence(predicting(0, 1, 2, 3), LABELS),), forget=())
    assert found == dict.fromkeys(FINDINGS)


counts = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)


@given(counts, counts)
def test_divergences_agree_with_scipy_and_bound_each_other(one: list[int], other: list[int]) -> None:
    p, q = (np.array(values) / sum(values) for values in (one, other))
    assert jensen_shannon(p, q) == pytest.approx(np.nan_to_num(jensenshannon(p, q, base=2)) ** 2, abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))
    assert total_variation(p, q) ** 2 / 2 - 1e-12 <= jensen_shannon(p, q) <= total_variation(p, q) + 1e-12


def test_a_retrained_model_is_compared_with_the_others_only(evidence: Any) -> None:
    one, other = (evidence(predicting(*rows), LABELS, [2]) for rows in ((0, 0, 0, 0), (1, 1, 1, 1)))
    reference = Reference(one, (one, other), (2,), classes=4, seed=0)
    found = AUDITS["class_flow"].measure(one, reference, ClassFlowSettings())
    assert found["flow_tv"] == pytest.approx(1.0)  # against both it would be one half
