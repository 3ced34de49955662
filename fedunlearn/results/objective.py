"""One number for a sweeper that searches: how far a run's unlearned model is from its retrained ones. Less is better.

It is a weighted sum over findings. What a finding adds is the size of its gap; of a finding that says where more is
left and that the verdict counts (such as the leak), and of distances and similarities, only one on the wrong side.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedunlearn.errors import unknown
from fedunlearn.results.findings import Declared, Finding
from fedunlearn.results.summary import Summary
from fedunlearn.results.verdict import SURFACE, UTILITY

Weights = Mapping[str, float]
DEFAULT = (SURFACE, UTILITY, "leak")  # the distance to retrained models where people look first, and the leak's excess


def check(asked: Weights | None, declared: Declared) -> None:
    """Raise RequestError for a finding that the audits of the run do not have."""
    numbers = [finding.name for finding in declared.values() if finding.kind == "number"]
    for name in asked or {}:
        if name not in numbers:
            raise unknown("finding of this run for sweep.objective", name, numbers)


def value(summary: Summary, asked: Weights | None) -> float | None:
    """The objective of a finished run with these weights, or with 1 for what the run has of the default.

    None where a finding is not defined for the run.
    """
    gaps = {name: gap for name, gap in summary.gap.items() if gap is not None}
    weights = _default(summary.findings, gaps) if asked is None else asked
    if not weights or any(name not in gaps for name in weights):
        return None
    return sum(weight * _wrong(summary.findings[name], gaps[name]) for name, weight in weights.items())


def _default(declared: Declared, gaps: Mapping[str, float]) -> dict[str, float]:
    """Every finding of the default, or the one that stands in for it."""
    stand_ins = {name: [one.name for one in declared.values() if one.stands_in_for == name] for name in DEFAULT}
    found = [next((one for one in (name, *stand_ins[name]) if one in gaps), None) for name in DEFAULT]
    return {name: 1.0 for name in found if name}


def _wrong(finding: Finding, gap: float) -> float:
    return max(finding.side * gap, 0.0) if finding.counted else finding.excess(gap)
