"""Declarations of findings: how gaps are read, what contradicts itself, and what all audits of ours declare."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.results.findings import Finding, by_name, named


def finding(direction: str, **more: object) -> Finding:
    return Finding("f", "f", "", direction, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("direction", "below", "above"),
    [
        ("up", 0.2, 0.3),
        ("down", 0.2, 0.3),
        ("as retrained", 0.2, 0.3),
        ("distance", 0.0, 0.3),
        ("similarity", 0.2, 0.0),
    ],
)
def test_distances_and_similarities_cannot_be_too_good(direction: str, below: float, above: float) -> None:
    assert (finding(direction).excess(-0.2), finding(direction).excess(0.3)) == (below, above)


def test_the_side_on_which_more_is_left() -> None:
    sides = {name: finding(name).side for name in ("up", "down", "as retrained", "distance", "similarity")}
    assert sides == {"up": 1, "down": -1, "as retrained": 0, "distance": 1, "similarity": -1}


def test_the_least_difference_is_one_sample_or_a_number() -> None:
    assert finding("up", finest="forget sample").least(200) == 0.005
    assert finding("up", finest="forget sample").least(0) == 1
    assert finding("down", finest=1.0).least(200) == 1.0
    assert finding("up").least(200) == 0.0


@pytest.mark.parametrize("direction", ["as retrained", "distance", "similarity"])
def test_the_verdict_counts_only_what_says_where_more_is_left(direction: str) -> None:
    with pytest.raises(ValueError, match="the verdict can count f only if it says in which direction more is left"):
        finding(direction, counted=True)


@pytest.mark.parametrize("given_", [{"headline": True}, {"counted": True}, {"stands_in_for": "g"}])
@pytest.mark.parametrize("kind", ["list", "figure"])
def test_only_numbers_are_columns_or_counted(kind: str, given_: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="f is no number"):
        finding("up", kind=kind, **given_)


def test_two_findings_of_one_name_are_named() -> None:
    with pytest.raises(ValueError, match="two audits of this run declare a finding called f"):
        by_name([finding("up"), finding("down")])


def test_a_finding_that_nobody_declared_is_called_by_its_name() -> None:
    found = named("relearn_time", {"f": finding("up")})
    assert (found.label, found.meaning, found.direction, found.headline) == ("relearn time", "", "as retrained", False)
    assert named("f", {"f": finding("up")}).direction == "up"


@given(st.sampled_from(["up", "down", "as retrained", "distance", "similarity"]), st.floats(-9, 9))
def test_excess_is_never_negative_nor_larger_than_the_gap(direction: str, gap: float) -> None:
    assert 0 <= finding(direction).excess(gap) <= abs(gap)
