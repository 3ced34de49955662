"""Prototypical relearning attack: a few samples, averaged into one row of the head, and no training.

Ha, Park and Yoon, arXiv 2506.01318: the features z of k forget samples give a unit prototype z̄, and the forgotten row
w of the head becomes a·z̄ + (1 − a)·w. Their bias becomes (1 − a)·b, so that a large negative one would ward off the
attack with all knowledge in place; here (our reading) the attacker sets it as high as the retain accuracy that she is
ready to lose on training data allows. Encoders of retrained models also tell classes apart that they never saw: only
the excess over them is leakage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count, Fraction, Share


@dataclass(frozen=True)
class PrototypeSettings:
    """What the attacker has and how far she goes."""

    samples: Count = 5  # training samples of each forgotten class, k
    mix: Share = 0.5  # share of the prototype in the new row of the head, a
    cost: Fraction = 0.01  # retain accuracy on training data that the attack may cost
    draws: Count = 5  # choices of the samples, to average over


def measure(evidence: Evidence, reference: Reference, settings: PrototypeSettings) -> Findings:
    """Forget and retain test accuracy in [0, 1] after the attack, averaged over draws. None below class level.

    Every model is attacked with the same samples.
    """
    if not reference.forget_classes:
        return dict.fromkeys(FINDINGS)
    stream = numpy_stream(reference.seed, "audit", "prototype_relearning")
    after = [_attack(evidence, reference, settings, stream) for _ in range(settings.draws)]
    return dict(zip(FINDINGS, np.mean(after, axis=0).tolist(), strict=True))


def prototypes(view: View, classes: tuple[int, ...], samples: int, stream: np.random.Generator) -> np.ndarray:
    """Mean feature of `samples` random samples of each class, scaled to unit length (a zero mean stays), [k, d]."""
    rows = [stream.permutation(np.flatnonzero(view.labels == label))[:samples] for label in classes]
    means = np.stack([view.features[chosen].astype(np.float64).mean(axis=0) for chosen in rows])
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12))


def mixed(view: View, classes: tuple[int, ...], toward: np.ndarray, mix: float) -> np.ndarray:
    """Logits [n, classes] after the rows of `classes` in the head moved to `toward` [k, d] by the share `mix`."""
    logits = view.logits.astype(np.float64)
    logits[:, classes] = mix * (view.features @ toward.T) + (1 - mix) * logits[:, classes]
    return logits


def highest_bias(logits: np.ndarray, labels: np.ndarray, forgotten: np.ndarray, least: float) -> float:
    """The largest number that added to the `forgotten` logits (bool [classes]) leaves a retain accuracy of `least`.

    Where none does, the largest that costs nothing. Retain accuracy never rises with that number and forget accuracy
    never falls, so this is the attacker's best.
    """
    kept = ~forgotten[labels]
    alone = np.where(forgotten, -np.inf, logits)[kept]
    right = alone.argmax(axis=1) == labels[kept]
    lost_above = np.sort((alone.max(axis=1) - logits[kept][:, forgotten].max(axis=1))[right])
    may_lose = int(np.floor(right.sum() - least * kept.sum() + 1e-9))
    return float(lost_above[np.clip(may_lose, 0, len(lost_above) - 1)]) if len(lost_above) else 0.0


def accuracies(logits: np.ndarray, labels: np.ndarray, forgotten: np.ndarray) -> tuple[float, float]:
    """(forget, retain) accuracy, with arg max over all classes; `forgotten`: bool [classes]."""
    right, of_forgotten = logits.argmax(axis=1) == labels, forgotten[labels]
    return float(right[of_forgotten].mean()), float(right[~of_forgotten].mean())


def _attack(
    evidence: Evidence, reference: Reference, settings: PrototypeSettings, stream: np.random.Generator
) -> tuple[float, float]:
    classes, train, test = reference.forget_classes, evidence.train, evidence.test
    toward = prototypes(train, classes, settings.samples, stream)
    forgotten = np.isin(np.arange(reference.classes), classes)
    least = accuracies(train.logits, train.labels, forgotten)[1] - settings.cost
    bias = highest_bias(mixed(train, classes, toward, settings.mix), train.labels, forgotten, least)
    return accuracies(mixed(test, classes, toward, settings.mix) + bias * forgotten, test.labels, forgotten)


DECLARED = (
    Finding(
        "prototype_forget_accuracy",
        "prototype forget accuracy",
        "forget accuracy once the mean of a few samples is put into the head",
        "up",
        "0 to 1",
        counted=True,
        finest="forget sample",
    ),
    Finding(
        "prototype_retain_accuracy",
        "prototype retain accuracy",
        "retain accuracy once the mean of a few forget samples is put into the head",
        scale="0 to 1",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "prototype_relearning": Audit(
        "prototype_relearning",
        PrototypeSettings,
        measure,
        findings=DECLARED,
        about="how much do a few samples bring back, averaged into one row of the head?",
    )
}
