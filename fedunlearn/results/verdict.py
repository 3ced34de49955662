"""The verdict on an unlearned model, computed from its audits: the gaps, the noise floors and the gates of one run.

Some findings say how much of what was forgotten is left where accuracy does not look: in the logits, in the features,
within reach of a few samples or steps. They are declared as `counted` by their audits (`findings.Finding`). Each is
held against the band of the retrained models: their mean, one noise floor up and one down; a few floors where fewer
than eight models were retrained, since these show less of how much such models differ (`WIDTHS`).

A finding counts only where it is defined for the run and sees something: where the original model, which knows what was
forgotten, is above the band.

- not erased: the accuracy is still above chance or, of a task where what was never seen can be known, above its band
- suppressed: the accuracy is gone, and findings are above their bands: more is left than after retraining
- over-erased: none is above, but some are below their bands: less is left, which tells it from retrained models too
- erased: all are inside their bands, and the original model is far above one: more than its half width

One finding that is just outside its band decides nothing, as a retrained model may be there by chance: it takes two, or
one that is beyond a wider band (`FAR_WIDTHS`). Where it is so, where nothing counts, or where all that counts is inside
a band that the original model is not far above, there is no verdict.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fedunlearn.errors import listed
from fedunlearn.results import gates as sanity
from fedunlearn.results.findings import Declared, Finding, named

SURFACE, UTILITY = "forget_accuracy", "retain_accuracy"
# By how many retrained models there are: half the width of a band in noise floors, such that one more is above it in
# 1.5 % of cases on each finding if findings are normally distributed. From eight on it is 1 (docs/audits.md).
WIDTHS = {2: 18.5, 3: 3.5, 4: 2.0, 5: 1.5, 6: 1.25, 7: 1.1}
# The same for 0.375 % of cases, a quarter: of four findings, one is so far above its band in 1.5 % of cases at most.
FAR_WIDTHS = {2: 74.0, 3: 7.0, 4: 3.3, 5: 2.3, 6: 1.8, 7: 1.55}
FAR = 1.4  # from eight on
BARELY = "only one finding is {side} its band, and by no more than a retrained model may be by chance"
BLIND = "even the original model, which knows the classes, is not far above any band: being inside them proves nothing"
Numbers = Mapping[str, float | None]


@dataclass(frozen=True)
class Judged:
    """A finding of a model against the band `centre` ± `half`; `left` is up where more is left.

    `far`: half the width of the wider band, which one finding has to leave to decide alone.
    """

    name: str
    label: str
    value: float
    centre: float
    half: float
    far: float
    left: int

    @property
    def margin(self) -> float | None:
        """Half widths from the band's edge where more is left: above 0 is above the band, below -2 is below it."""
        return self.left * (self.value - self.centre) / self.half - 1 if self.half else None

    @property
    def side(self) -> int:
        """1: above the band, more is left. -1: below it, less is left. 0: inside."""
        distance = self.left * (self.value - self.centre)
        return 0 if not self.beyond(self.half) else 1 if distance > 0 else -1

    def beyond(self, half: float) -> bool:
        """Is it outside a band of that half width?"""
        return abs(self.value - self.centre) > half * (1 + 1e-9)

    @property
    def clear(self) -> bool:
        """Far above the band, by more than its half width."""
        return self.side == 1 and (self.margin is None or self.margin > 1)

    def __str__(self) -> str:
        where = {1: "above the band, more is left", -1: "below the band, less is left", 0: "inside the band"}[self.side]
        low, high = self.centre - self.half, self.centre + self.half
        return f"{self.label} {self.value:.3f} is {where} ({low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class Verdict:
    """`word` is None where there is none, and `reasons` say why.

    `margins` of the unlearned model and `original_margins` by finding (`Judged.margin`); `retrained`: how many models
    it was held against. `counts`: the findings that count, as the original model is above their bands; `above` and
    `below`: those of them where the unlearned model is outside.
    """

    word: str | None = None
    reasons: tuple[str, ...] = ()
    margins: dict[str, float | None] = field(default_factory=dict)
    original_margins: dict[str, float | None] = field(default_factory=dict)
    retrained: int = 0
    counts: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()


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
    why_not = no_verdict(models, gates) or _absent(models, declared, expected, counted, measured)
    if why_not:
        return Verdict(None, tuple(why_not), retrained=len(models.retrained))
    held = held_against(models, measured, samples)
    gone, surface = _gone(models, declared, chance, samples)
    word = _word(gone, held)
    nothing = BARELY.format(side="above" if held.outside(1) else "below") if held.outside(1, -1) else BLIND
    missing = [finding.label for finding in counted if finding not in measured]
    remarks = _remarks(models, declared, held.blind, missing)
    return held.verdict(word, (surface if word else nothing, *map(str, held.judged), *remarks))


@dataclass(frozen=True)
class Held:
    """Findings of the unlearned model (`judged`) and of the original one (`before`) against the retrained models."""

    judged: tuple[Judged, ...]
    before: tuple[Judged, ...]
    retrained: int

    @property
    def counts(self) -> list[Judged]:
        """Those of the unlearned model that count: where the original model is above the band."""
        return [each for each, before in zip(self.judged, self.before, strict=True) if before.side == 1]

    @property
    def blind(self) -> list[str]:
        """The labels of the others."""
        return [each.label for each in self.before if each.side != 1]

    @property
    def clear(self) -> bool:
        """Is the original model far above a band?"""
        return any(each.clear for each in self.before)

    def outside(self, *sides: int) -> list[Judged]:
        """Those of the unlearned model that count and are on such a side of their bands."""
        return [each for each in self.counts if each.side in sides]

    def verdict(self, word: str | None, reasons: Sequence[str]) -> Verdict:
        """`word`, and the findings that it comes from."""
        return Verdict(
            word,
            tuple(reasons),
            {each.name: each.margin for each in self.judged},
            {each.name: each.margin for each in self.before},
            self.retrained,
            tuple(each.name for each in self.counts),
            tuple(each.name for each in self.outside(1)),
            tuple(each.name for each in self.outside(-1)),
        )


def held_against(models: Compared, findings: Sequence[Finding], samples: int) -> Held:
    """The findings of unlearned and original model against the bands of the retrained ones; all must be measured."""
    judged, before = (
        tuple(_judged(finding, model, models.retrained, samples) for finding in findings)
        for model in (models.unlearned, models.original)
    )
    return Held(judged, before, len(models.retrained))


def _gone(models: Compared, declared: Declared, chance: float | None, samples: int) -> tuple[bool, str]:
    """Is the accuracy on what was forgotten gone, and a sentence on it."""
    if chance is not None:
        accuracy = _known(models.unlearned[SURFACE])
        gone = accuracy <= chance
        label = named(SURFACE, declared).label
        return gone, f"{label} {accuracy:.3f} is {'at' if gone else 'above'} chance ({chance:.3f})"
    judged = _judged(declared[SURFACE], models.unlearned, models.retrained, samples)
    return judged.side != 1, str(judged)


def _word(gone: bool, held: Held) -> str | None:
    if not gone:
        return "not erased"
    for side, word in ((1, "suppressed"), (-1, "over-erased")):
        if outside := held.outside(side):
            return word if len(outside) > 1 or outside[0].beyond(outside[0].far) else None
    return "erased" if held.clear else None


def no_verdict(models: Compared, gates: Mapping[str, bool]) -> list[str]:
    """Why nothing can be said of models like these, whatever was found in them; empty if it can."""
    failed = [name for name, passed in gates.items() if not passed]
    if failed:
        return [f"a sanity gate failed: {sanity.sentence(name)}" for name in failed]
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
        labels = dict.fromkeys(named(name, declared).label for name in names)
        return [f"there is no {listed(labels)}: switched off, or not defined for this run"]
    return [] if measured else ["no audit of this run has a finding that the verdict counts"]


def _judged(finding: Finding, model: Numbers, retrained: Sequence[Numbers], samples: int) -> Judged:
    values = [_known(other[finding.name]) for other in retrained]
    floor, least = max(values) - min(values), finding.least(samples)
    width, wide = WIDTHS.get(len(values), 1.0), FAR_WIDTHS.get(len(values), FAR)
    half = max(width * floor, least)
    value, mean = _known(model[finding.name]), sum(values) / len(values)
    return Judged(finding.name, finding.label, value, mean, half, half * wide / width, finding.side or 1)


def _known(value: float | None) -> float:
    assert value is not None  # only what was measured is judged
    return value


def _remarks(models: Compared, declared: Declared, blind: Sequence[str], missing: Sequence[str]) -> list[str]:
    remarks = []
    if blind:
        remarks.append(f"does not count, as the original model is not above the band: {', '.join(blind)}")
    if missing:
        remarks.append(f"does not count, as it is not defined for this run: {', '.join(missing)}")
    return [*remarks, *on_the_rest(models, declared), *on_widths(len(models.retrained))]


def on_the_rest(models: Compared, declared: Declared) -> list[str]:
    """That the accuracy on what stays was damaged, where it was."""
    if UTILITY not in declared or not models.has(UTILITY):
        return []
    utility = _judged(declared[UTILITY], models.unlearned, models.retrained, 0)
    damaged = f"the rest was damaged: {utility.label} {utility.value:.3f}, retrained {utility.centre:.3f}"
    return [damaged] if utility.side == -1 else []


def on_widths(retrained: int) -> list[str]:
    """That few retrained models make wide bands, where they do."""
    if retrained not in WIDTHS:
        return []
    wide = f"{WIDTHS[retrained]:g} noise floors to either side, as only {retrained} models were retrained"
    return [f"the bands reach {wide}: with eight it would be one"]
