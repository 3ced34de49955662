"""The verdict on an unlearned model, computed from its audits: the gaps, the noise floors and the gates of one run.

Some findings say how much of what was forgotten is left where accuracy does not look: in the logits, in the features,
within reach of a few samples or steps. They are declared as `counted` by their audits (`findings.Finding`). Each is
held against the band of the retrained models: their mean, one noise floor up and one down; a few floors where fewer
than eight models were retrained, since these show less of how much such models differ (`WIDTHS`).

A finding counts only where it is defined for the run and sees something: where the original model, which knows what was
forgotten, is above the band.

- not erased: the accuracy is still above chance or, of a task where what was never seen can be known, above its band
- suppressed: the accuracy is gone, and at least one finding is above its band: more is left than after retraining
- over-erased: none is above, at least one is below its band: less is left, which tells it from retrained models too
- erased: all are inside their bands, and the original model is far above one: more than its half width

Where nothing counts, or all that counts is inside a band that the original model is not far above, there is no verdict.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fedunlearn.errors import listed
from fedunlearn.results.findings import Declared, Finding

SURFACE, UTILITY = "forget_accuracy", "retain_accuracy"
# By how many retrained models there are: half the width of a band in noise floors, such that one more is above it in
# 1.5 % of cases on each finding if findings are normally distributed. From eight on it is 1 (docs/audits.md).
WIDTHS = {2: 18.5, 3: 3.5, 4: 2.0, 5: 1.5, 6: 1.25, 7: 1.1}
BLIND = "nothing can be told: the original model, which knows the classes, is not far above any band either"
Numbers = Mapping[str, float | None]


@dataclass(frozen=True)
class Judged:
    """A finding of a model against the band `centre` ± `half`; `left` is up where more is left."""

    name: str
    value: float
    centre: float
    half: float
    left: int

    @property
    def margin(self) -> float | None:
        """Half widths from the band's edge where more is left: above 0 is above the band, below -2 is below it."""
        return self.left * (self.value - self.centre) / self.half - 1 if self.half else None

    @property
    def side(self) -> int:
        """1: above the band, more is left. -1: below it, less is left. 0: inside."""
        distance = self.left * (self.value - self.centre)
        return 0 if abs(distance) <= self.half * (1 + 1e-9) else 1 if distance > 0 else -1

    @property
    def clear(self) -> bool:
        """Far above the band, by more than its half width."""
        return self.side == 1 and (self.margin is None or self.margin > 1)

    def __str__(self) -> str:
        where = {1: "above the band, more is left", -1: "below the band, less is left", 0: "inside the band"}[self.side]
        low, high = self.centre - self.half, self.centre + self.half
        return f"{self.name} {self.value:.3f} is {where} ({low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class Verdict:
    """`word` is None where there is none, and `reasons` say why.

    `margins` of the unlearned model and `original_margins` by finding (`Judged.margin`); `retrained`: how many models
    it was held against.
    """

    word: str | None = None
    reasons: tuple[str, ...] = ()
    margins: dict[str, float | None] = field(default_factory=dict)
    original_margins: dict[str, float | None] = field(default_factory=dict)
    retrained: int = 0


@dataclass(frozen=True)
class Compared:
    """The findings of a run's models."""

    original: Numbers
    unlearned: Numbers
    retrained: Sequence[Numbers]

    def known(self, name: str) -> list[bool]:
        """Of each model, is it there?"""
        return [model.get(name) is not None for model in (self.original, self.unlearned, *self.retrained)]

    def has(self, name: str) -> bool:
        """Was it measured on every model?"""
        return all(self.known(name))


def judge(
    models: Compared,
    declared: Declared,
    gates: Mapping[str, bool],
    *,
    chance: float | None,
    samples: int,
    expected: Collection[str] = (),
) -> Verdict:
    """The verdict on `models.unlearned`.

    `declared`: the findings of the run's audits; `chance`: the accuracy of a model that never saw what was forgotten,
    None where the retrained models have to say; `samples`: forget test samples; `expected`: findings without which
    there is no verdict, as they would be there if no audit were switched off.
    """
    counted = [finding for finding in declared.values() if finding.counted]
    measured = [finding for finding in counted if models.has(finding.name)]
    why_not = _no_verdict(models, gates) or _absent(models, declared, expected, counted, measured)
    if why_not:
        return Verdict(None, tuple(why_not), retrained=len(models.retrained))
    judged, before = (
        [_judged(finding, model, models.retrained, samples) for finding in measured]
        for model in (models.unlearned, models.original)
    )
    gone, surface = _gone(models, declared, chance, samples)
    blind = [each.name for each in before if each.side != 1]
    missing = [finding.name for finding in counted if finding not in measured]
    word = _word(gone, [each.side for each in judged if each.name not in blind], any(each.clear for each in before))
    reasons = [surface if word else BLIND, *map(str, judged), *_remarks(models, declared, blind, missing)]
    return Verdict(
        word,
        tuple(reasons),
        {each.name: each.margin for each in judged},
        {each.name: each.margin for each in before},
        len(models.retrained),
    )


def _gone(models: Compared, declared: Declared, chance: float | None, samples: int) -> tuple[bool, str]:
    """Is the accuracy on what was forgotten gone, and a sentence on it."""
    if chance is not None:
        accuracy = _known(models.unlearned[SURFACE])
        gone = accuracy <= chance
        return gone, f"{SURFACE} {accuracy:.3f} is {'at' if gone else 'above'} chance ({chance:.3f})"
    judged = _judged(declared[SURFACE], models.unlearned, models.retrained, samples)
    return judged.side != 1, str(judged)


def _word(gone: bool, sides: Sequence[int], clear: bool) -> str | None:
    if not gone:
        return "not erased"
    if any(sides):
        return "suppressed" if 1 in sides else "over-erased"
    return "erased" if clear else None


def _no_verdict(models: Compared, gates: Mapping[str, bool]) -> list[str]:
    failed = [name for name, passed in gates.items() if not passed]
    if failed:
        return [f"the gate {name} failed" for name in failed]
    if len(models.retrained) < 2:
        return ["one retrained model has no noise floor: retrain at least two, eight for a claim (retrain.seeds=8)"]
    return []


def _absent(
    models: Compared,
    declared: Declared,
    expected: Collection[str],
    counted: Sequence[Finding],
    measured: Sequence[Finding],
) -> list[str]:
    """Why there is nothing to judge by, or not all of it."""
    names = [] if models.has(SURFACE) else [SURFACE]
    names += [name for name in expected if name not in declared]
    names += [finding.name for finding in counted if len(set(models.known(finding.name))) > 1]  # on some models alone
    names += [] if measured else [finding.name for finding in counted]
    if names:
        return [f"there is no {listed(dict.fromkeys(names))}: switched off, or not defined for this run"]
    return [] if measured else ["no audit of this run has a finding that the verdict counts"]


def _judged(finding: Finding, model: Numbers, retrained: Sequence[Numbers], samples: int) -> Judged:
    values = [_known(other[finding.name]) for other in retrained]
    half = max(WIDTHS.get(len(values), 1.0) * (max(values) - min(values)), finding.least(samples))
    return Judged(finding.name, _known(model[finding.name]), sum(values) / len(values), half, finding.side or 1)


def _known(value: float | None) -> float:
    assert value is not None  # only what was measured is judged
    return value


def _remarks(models: Compared, declared: Declared, blind: Sequence[str], missing: Sequence[str]) -> list[str]:
    remarks = []
    if blind:
        remarks.append(f"does not count, as the original model is not above the band: {', '.join(blind)}")
    if missing:
        remarks.append(f"does not count, as it is not defined for this run: {', '.join(missing)}")
    if UTILITY in declared and models.has(UTILITY):
        utility = _judged(declared[UTILITY], models.unlearned, models.retrained, 0)
        if utility.side == -1:
            remarks.append(f"the rest was damaged: {UTILITY} {utility.value:.3f}, retrained {utility.centre:.3f}")
    retrained = len(models.retrained)
    if retrained in WIDTHS:
        wide = f"{WIDTHS[retrained]:g} noise floors to either side, as only {retrained} models were retrained"
        remarks.append(f"the bands reach {wide}: with eight it would be one")
    return remarks
