"""The verdict on an unlearned model, computed from its audits: the gaps, the noise floors and the gates of one run.

Five findings say how much of the forgotten classes is left where accuracy does not look: in the logits (`leak`, and
`gamma_recovered`, what one scalar brings back), in the features (`probe_forget_accuracy`), and within reach of a few
samples (`prototype_forget_accuracy`) or steps (`relearn_batches`). Each is held against the band of the retrained
models: their mean, one noise floor up and one down; a few floors where fewer than eight models were retrained, since
these show less of how much such models differ (`WIDTHS`).

A finding counts only where it sees something: where the original model, which knows the classes, is above the band.

- not erased: the accuracy is still above chance
- suppressed: the accuracy is gone, and at least one finding is above its band: more is left than after retraining
- over-erased: none is above, at least one is below its band: less is left, which tells it from retrained models too
- erased: all are inside their bands, and the original model is far above one: more than its half width

Where nothing counts, or all that counts is inside a band that the original model is not far above, there is no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedunlearn.errors import listed

# Finding -> the direction in which more is left: up or down.
CRITERIA = {
    "leak": 1,
    "gamma_recovered": 1,
    "probe_forget_accuracy": 1,
    "prototype_forget_accuracy": 1,
    "relearn_batches": -1,
}
# Findings that cannot be too good, as they say how far from (up) or how similar to (down) the retrained models one is.
ONE_SIDED = {
    "flow_tv": 1,
    "flow_js": 1,
    "cmia_distance": 1,
    "membership_distance": 1,
    "cka_forget": -1,
    "cka_retain": -1,
}
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


def judge(
    original: Numbers,
    unlearned: Numbers,
    retrained: Sequence[Numbers],
    gates: Mapping[str, bool],
    *,
    classes: int,
    samples: int,
) -> dict[str, Any]:
    """`{"word": …, "reasons": […], "margins": {finding: …}, "original_margins": …, "retrained": …}`.

    The word is None where there is none. `original`, `unlearned` and `retrained`: the models' findings; `classes`: how
    many there are; `samples`: forget test samples.
    """
    given = {"margins": {}, "original_margins": {}, "retrained": len(retrained)}
    why_not = _no_verdict(original, unlearned, retrained, gates)
    if why_not:
        return {"word": None, "reasons": why_not, **given}
    judged, before = (_all_judged(model, retrained, samples) for model in (unlearned, original))
    accuracy, chance = _known(unlearned["forget_accuracy"]), 1 / classes
    gone = accuracy <= chance
    reasons = [f"forget_accuracy {accuracy:.3f} is {'at' if gone else 'above'} chance ({chance:.3f})"]
    utility = _judged("retain_accuracy", 1, unlearned, retrained, 0.0)
    blind = [each.name for each in before if each.side != 1]
    reasons += [*map(str, judged), *_remarks(utility, blind, len(retrained))]
    sides = [each.side for each in judged if each.name not in blind]
    word = _word(gone, sides, any(each.clear for each in before))
    return {
        "word": word,
        "reasons": reasons if word else [BLIND, *reasons[1:]],
        "margins": {each.name: each.margin for each in judged},
        "original_margins": {each.name: each.margin for each in before},
        "retrained": len(retrained),
    }


def excess(finding: str, gap: float) -> float:
    """How far a gap to the retrained models is one in the wrong direction; of most findings, either is."""
    side = ONE_SIDED.get(finding)
    return abs(gap) if side is None else max(side * gap, 0.0)


def _word(gone: bool, sides: Sequence[int], clear: bool) -> str | None:
    if not gone:
        return "not erased"
    if any(sides):
        return "suppressed" if 1 in sides else "over-erased"
    return "erased" if clear else None


def _no_verdict(
    original: Numbers, unlearned: Numbers, retrained: Sequence[Numbers], gates: Mapping[str, bool]
) -> list[str]:
    failed = [name for name, passed in gates.items() if not passed]
    if failed:
        return [f"the gate {name} failed" for name in failed]
    if len(retrained) < 2:
        return ["one retrained model has no noise floor: retrain at least two, eight for a claim (retrain.seeds=8)"]
    needed = ("forget_accuracy", "retain_accuracy", *CRITERIA)
    models = (original, unlearned, *retrained)
    absent = [name for name in needed if any(model.get(name) is None for model in models)]
    return [f"there is no {listed(absent)}: switched off, or not defined for this run"] if absent else []


def _all_judged(model: Numbers, retrained: Sequence[Numbers], samples: int) -> list[Judged]:
    one_sample, one_batch = 1 / max(samples, 1), 1.0  # smaller differences are none, though retrained models agree
    finest = dict.fromkeys(("gamma_recovered", "probe_forget_accuracy", "prototype_forget_accuracy"), one_sample)
    finest["relearn_batches"] = one_batch
    return [_judged(name, left, model, retrained, finest.get(name, 0.0)) for name, left in CRITERIA.items()]


def _judged(name: str, left: int, model: Numbers, retrained: Sequence[Numbers], finest: float) -> Judged:
    values = [_known(other[name]) for other in retrained]
    half = max(WIDTHS.get(len(values), 1.0) * (max(values) - min(values)), finest)
    return Judged(name, _known(model[name]), sum(values) / len(values), half, left)


def _known(value: float | None) -> float:
    assert value is not None  # _no_verdict has seen to it
    return value


def _remarks(utility: Judged, blind: Sequence[str], retrained: int) -> list[str]:
    remarks = []
    if blind:
        remarks.append(f"does not count, as the original model is not above the band: {', '.join(blind)}")
    if utility.side == -1:
        remarks.append(f"the rest was damaged: retain_accuracy {utility.value:.3f}, retrained {utility.centre:.3f}")
    if retrained in WIDTHS:
        wide = f"{WIDTHS[retrained]:g} noise floors to either side, as only {retrained} models were retrained"
        remarks.append(f"the bands reach {wide}: with eight it would be one")
    return remarks
