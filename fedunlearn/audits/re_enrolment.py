"""Re-enrolment: somebody gives the system a few images of the forgotten individual again. How well is it known then?

To drop the enrolled images is no forgetting: whoever has a new one puts it back. So the attack enrols the individual
with one, three or five of its test images, beside all others, and asks who is on the rest. A retrained model recognises
it as well as any stranger that is enrolled likewise, so that the reference are retrained models and strangers, not 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedunlearn.audits import matching
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.audits.matching import Shown
from fedunlearn.audits.verification import shown
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count

WHO = {"forget": "the forgotten individuals", "unseen": "an individual never seen"}


@dataclass(frozen=True)
class ReEnrolmentSettings:
    """The attack."""

    images: tuple[Count, ...] = (1, 3, 5)  # that an individual is enrolled with
    draws: Count = 20  # of such images, by seed; the mean counts


def measure(evidence: Evidence, reference: Reference, settings: ReEnrolmentSettings) -> Findings:
    """`GROUP_enrolled_K` in [0, 1]: share of the other test images that are given the name of their individual.

    The system knows every retained individual by the mean embedding of its training images, and the enrolled one by
    that of K test images; the nearest mean gives the name. One individual is enrolled at a time. None where there is no
    such individual, or none has more than K test images.
    """
    train, test = shown(evidence.train), shown(evidence.test)
    known = _means(train.at(~np.isin(train.who, reference.forget_classes)))
    groups = {
        "forget": test.at(np.isin(test.who, reference.forget_classes)),
        "unseen": None if evidence.unseen is None else shown(evidence.unseen),
    }
    return {
        f"{name}_enrolled_{count}": _recognised(group, known, count, settings.draws, reference.seed)
        for name, group in groups.items()
        for count in settings.images
    }


def _means(enrolled: Shown) -> Shown:
    who = np.unique(enrolled.who)
    return Shown(np.stack([enrolled.features[enrolled.who == number].mean(axis=0) for number in who]), who)


def _recognised(group: Shown | None, known: Shown, count: int, draws: int, seed: int) -> float | None:
    """The mean over individuals and draws."""
    rates = []
    for number in np.unique(group.who) if group is not None else ():
        assert group is not None
        own = group.features[group.who == number]
        if len(own) > count:
            stream = numpy_stream(seed, "audit", "re_enrolment", count, int(number))
            orders = [stream.permutation(len(own)) for _ in range(draws)]
            rates.append(np.mean([_rate(own[order[:count]], own[order[count:]], known) for order in orders]))
    return float(np.mean(rates)) if rates else None


def _rate(enrolled: np.ndarray, probes: np.ndarray, known: Shown) -> float:
    """The share of probes that are nearer to the mean of those enrolled than to that of anybody known."""
    own = matching.distances(probes, enrolled.mean(axis=0)[None])[:, 0]
    others = matching.distances(probes, known.features).min(axis=1)
    return float((own < others).mean())


def _declared(settings: ReEnrolmentSettings) -> tuple[Finding, ...]:
    return tuple(_findings(settings))


def _findings(settings: ReEnrolmentSettings) -> Iterator[Finding]:
    for group, who in WHO.items():
        for count in settings.images:
            yield Finding(
                f"{group}_enrolled_{count}",
                f"{group}, re-enrolled by {count}",
                f"share of test images of {who} that are recognised after it is enrolled with {count} of them",
                "up" if group == "forget" else "as retrained",
                "0 to 1",
            )


AUDITS = {
    "re_enrolment": Audit(
        "re_enrolment",
        ReEnrolmentSettings,
        measure,
        findings=_declared,
        tasks=frozenset({"identity"}),
        about="how well is the forgotten individual known after a few of its images are enrolled again?",
    )
}
