"""Intervals of shares against scipy's, and when few samples are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from fedunlearn.results.sampling import FEW, caution, few, forgotten, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(seen: tuple[int, int]) -> None:
    hits, samples = seen
    exact = binomtest(hits, samples).proportion_ci(0.95, method="wilson")
    assert wilson(hits / samples, samples) == pytest.approx((exact.low, exact.high), abs=1e-6)


@pytest.mark.parametrize(("share", "samples"), [(-0.1, 5), (1.1, 5), (0.5, 0)])
def test_no_share_has_no_interval(share: float, samples: int) -> None:
    with pytest.raises(ValueError, match="is no share of"):
        wilson(share, samples)


def test_test_samples_are_looked_at_where_there_are_some() -> None:
    assert forgotten({"forget_test": 7, "forget_train": 90}) == (7, "test")
    assert forgotten({"forget_test": 0, "forget_train": 90}) == (90, "training")
    assert forgotten({}) == (0, "") and not few({}) and caution({}) == []


def test_fewer_than_thirty_are_said() -> None:
    assert FEW == 30 and few({"forget_test": 29}) and not few({"forget_test": 30})
    assert caution({"forget_test": 30}) == []
    assert caution({"forget_test": 16}) == [  # 1.96 · √(1/4/16 + 0.24/4/16) / 1.24 = 0.22
        "only 16 test samples of what is to be forgotten: chance alone moves a share of them by up to 22 points to "
        "either side"
    ]
    assert "only 1 training sample of" in caution({"forget_train": 1})[0]
