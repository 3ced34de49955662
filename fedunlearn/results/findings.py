"""What an audit declares about each number that it returns: what it is called, what it says, and how it is read.

Tables, pages, figures, the verdict and docs/audits.md are made from these declarations and know no finding by
themselves, so that one of another package shows up wherever one of ours does. A run's summary carries them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

# up, down: where it is higher (lower), more is left; the opposite way, less than in retrained models.
# as retrained: any difference from retrained models is one, but none says that more is left.
# distance, similarity: how far from (how like) retrained models a model is, which cannot be too small (too large).
Direction = Literal["up", "down", "as retrained", "distance", "similarity"]
Kind = Literal["number", "list", "figure"]
Drawn = Literal["", "curves", "strips"]
SIDES: Mapping[str, int] = {"up": 1, "distance": 1, "down": -1, "similarity": -1}


@dataclass(frozen=True)
class Finding:
    """The declaration of one finding. Raises ValueError where it contradicts itself.

    `label`: its name for readers, `meaning`: one sentence without a full stop, `scale`: its range in words. `headline`:
    a column of the tables, or a stand-in in runs that lack the finding named in `stands_in_for`. `counted`: the verdict
    counts it. `finest`: a smaller difference is none, though retrained models may agree entirely; a number, or one
    forget sample, of those that it is a share of (test samples unless the name ends in `_train`). `kind`: a number, a
    list of numbers (one per class or group), or what a figure is drawn from; `drawn`: by what, if by one of those that
    draw any such figure (fedunlearn/report/exhibit_figures.py says what data they take).
    """

    name: str
    label: str
    meaning: str
    direction: Direction = "as retrained"
    scale: str = ""
    headline: bool = False
    stands_in_for: str = ""
    counted: bool = False
    finest: float | Literal["forget sample"] = 0.0
    kind: Kind = "number"
    drawn: Drawn = ""

    def __post_init__(self) -> None:
        if self.counted and self.direction not in ("up", "down"):
            raise ValueError(f"the verdict can count {self.name} only if it says in which direction more is left")
        if self.kind != "number" and (self.headline or self.counted or self.stands_in_for):
            raise ValueError(f"{self.name} is no number: neither a table's column nor the verdict can show it")
        if self.drawn and self.kind != "figure":
            raise ValueError(f"{self.name} is no figure: it cannot be drawn as {self.drawn}")

    @property
    def side(self) -> int:
        """1: more is left, or the model is farther from retrained ones, where it is higher; -1: where it is lower."""
        return SIDES.get(self.direction, 0)

    def excess(self, gap: float) -> float:
        """How far a gap to the retrained models is one in a wrong direction; of most findings, either is."""
        return max(self.side * gap, 0.0) if self.direction in ("distance", "similarity") else abs(gap)

    def least(self, forget_samples: int) -> float:
        """The smallest difference that is one, where it is a share of so many forget samples."""
        return 1 / max(forget_samples, 1) if self.finest == "forget sample" else self.finest


Declared = Mapping[str, Finding]


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    """The findings by their names, in the same order. Raises ValueError if two have the same."""
    found: dict[str, Finding] = {}
    for finding in findings:
        if finding.name in found:
            raise ValueError(f"two audits of this run declare a finding called {finding.name}: leave one of them out")
        found[finding.name] = finding
    return found


# What summaries that hold no declarations, of earlier versions, had as columns of their tables.
COLUMNS_BEFORE = ("forget_accuracy", "retain_accuracy", "flow_tv", "leak", "probe_forget_accuracy")
STOOD_IN_BEFORE = {"forget_accuracy_train": "forget_accuracy"}


def named(name: str, declared: Declared) -> Finding:
    """The declaration of `name`; where there is none, one that says no more than its name does."""
    if name in declared:
        return declared[name]
    stands_in_for = STOOD_IN_BEFORE.get(name, "")
    return Finding(name, name.replace("_", " "), "", headline=name in COLUMNS_BEFORE, stands_in_for=stands_in_for)
