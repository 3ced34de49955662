"""What can be said where verdicts cannot: of a request that forgets clients or samples, and no whole class.

A retrained model still knows the classes of such samples, so that nothing is left to be found in logits or features.
What it lacks are the samples themselves. Two findings see these: the accuracy on the forgotten training samples, and
how well they are told from samples that nobody trained on (membership). Each is held against the band of the retrained
models as in a verdict (`verdict.WIDTHS`), and counts only where the original model is above that band.

- more left: at least one that counts is above its band, as in models that have seen the samples
- less left: none is above, at least one is below, whether it counts or not: the model treats the samples worse than
  models that have never seen them, which tells it from these too
- as retrained: all that count are inside their bands, and the original model is far above one

These are no verdicts. They say how the samples are treated on average; a single one may well be remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fedunlearn.results.findings import Declared
from fedunlearn.results.verdict import Compared, Held, Verdict, held_against, no_verdict, on_the_rest, on_widths

COUNTED = ("forget_accuracy_train", "membership_auc")
BLIND = (
    "even the original model, which has seen the samples, is not far above any band: being inside them proves nothing"
)


def judge(models: Compared, declared: Declared, gates: Mapping[str, bool], *, samples: int) -> Verdict:
    """The judgement on `models.unlearned`; its `word` is `more left`, `less left`, `as retrained` or None.

    `samples`: how many training samples were to be forgotten; a share of them has no finer step than one.
    """
    measured = [declared[name] for name in COUNTED if name in declared and models.has(name)]
    why_not = no_verdict(models, gates)
    if not measured and not why_not:
        why_not = ["the audits accuracy and membership are switched off, or not defined for this run"]
    if why_not:
        return Verdict(None, tuple(why_not), retrained=len(models.retrained))
    held = held_against(models, measured, samples)
    word = _word(held)
    reasons = [*([] if word else [BLIND]), *map(str, held.judged), *_blind(held), *on_the_rest(models, declared)]
    found = held.verdict(word, (*reasons, *on_widths(held.retrained)))
    return replace(found, below=tuple(each.name for each in held.judged if each.side == -1))


def _word(held: Held) -> str | None:
    if any(each.side == 1 for each in held.counts):
        return "more left"
    if any(each.side == -1 for each in held.judged):
        return "less left"
    return "as retrained" if held.clear else None


def _blind(held: Held) -> list[str]:
    said = f"as the original model is not above the band, it does not count where more is left: {', '.join(held.blind)}"
    return [said] if held.blind else []
