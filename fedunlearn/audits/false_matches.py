"""False matches: who is taken for whom, once an individual is to be forgotten?

A method that moves the forgotten individual onto another makes the system call one by the name of the other, which does
harm that no accuracy shows: a wrong animal is treated, a wrong person stopped. Measured on the retained individual that
is most like the forgotten one in the original model (whom FUCRT would choose), by the forgotten one and by strangers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits import matching
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.audits.matching import Shown
from fedunlearn.audits.verification import NEEDED, RATES, shown
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class FalseMatchesSettings:
    """False matches have no settings."""


def measure(evidence: Evidence, reference: Reference, settings: FalseMatchesSettings) -> Findings:
    """Shares in [0, 1] of the pairs of a forgotten (or never seen) and another's image that are accepted.

    At the threshold where 1 % of the impostor pairs among retained individuals are. `false_match_forget`: with images
    of the most similar individual, mean over forgotten individuals; `false_match_any`: with those of the retained
    individual that this model confuses it with most; `false_match_unseen`: strangers with the most similar individual.
    None below class level, or where there are too few pairs.
    """
    test, forgotten = shown(evidence.test), reference.forget_classes
    retained = test.at(~np.isin(test.who, forgotten))
    impostor = matching.pairs(retained).impostor
    if not forgotten or RATES["1"] * len(impostor) < NEEDED:
        return dict.fromkeys(FINDINGS)
    limit = matching.threshold(impostor, RATES["1"])
    original = shown(reference.original.test)
    found: dict[str, list[float]] = {name: [] for name in FINDINGS}
    for number in forgotten:
        own, similar = test.at(test.who == number), most_similar(original, number, forgotten)
        rates = {int(who): _matched(own, test.at(test.who == who), limit) for who in np.unique(retained.who)}
        found["false_match_forget"].append(rates[similar])
        found["false_match_any"].append(max(rates.values()))
        if evidence.unseen is not None:
            found["false_match_unseen"].append(_matched(shown(evidence.unseen), test.at(test.who == similar), limit))
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def most_similar(original: Shown, number: int, forgotten: tuple[int, ...]) -> int:
    """The retained individual whose mean embedding is nearest to that of individual `number`."""
    others = np.setdiff1d(np.unique(original.who), forgotten)
    means = np.stack([original.features[original.who == who].mean(axis=0) for who in others])
    own = original.features[original.who == number].mean(axis=0)
    return int(others[matching.distances(own[None], means)[0].argmin()])


def _matched(one: Shown, other: Shown, limit: float) -> float:
    return matching.accepted(matching.between(one, other), limit)


DECLARED = (
    Finding(
        "false_match_forget",
        "false matches, most similar",
        "share of pairs of a forgotten image and one of the most similar individual that are accepted at FAR 1 %",
        scale="0 to 1",
    ),
    Finding(
        "false_match_any",
        "worst false matches",
        "share of pairs with the retained individual confused most with the forgotten one that are accepted at FAR 1 %",
        scale="0 to 1",
        headline=True,
    ),
    Finding(
        "false_match_unseen",
        "false matches, strangers",
        "share of pairs of an image never seen and one of the most similar individual that are accepted at FAR 1 %",
        scale="0 to 1",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "false_matches": Audit(
        "false_matches",
        FalseMatchesSettings,
        measure,
        findings=DECLARED,
        tasks=frozenset({"identity"}),
        about="is the forgotten individual taken for another one, or a stranger for that one?",
    )
}
