"""Damage to the classes that took in the forgotten one: what is answered with their name and is not theirs.

A method that moves the forgotten class into a neighbour can spoil the neighbour without any loss of accuracy on its
own samples: too much is now called by its name. Precision shows that. The measure is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.audits.class_flow import retain_flow
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class TransformationDamageSettings:
    """Damage has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: TransformationDamageSettings) -> Findings:
    """Means over retain classes, each weighted by the share of forget samples that this model moves there.

    `absorber_precision` in [0, 1]: of all test samples taken for the class, forget samples among them, the share that
    is of it. `absorber_false_matches` in [0, 1]: of the retain test samples taken for it, the share that is not.
    `absorber_recall_change` in [-1, 1]: its accuracy minus that in the original model; `class_recall_change`
    [classes]: the same for every class (0 for forgotten ones). Classes that nothing is taken for are left out of
    the first two. All None below class level.
    """
    if not reference.forget_classes:
        return dict.fromkeys(FINDINGS)
    view, retain = evidence.test, reference.retain_classes
    flow = retain_flow(view, retain)
    change = np.zeros(reference.classes)
    change[retain] = (recall(view, reference.classes) - recall(reference.original.test, reference.classes))[retain]
    wrong = 1 - precision(view, ~view.forget, reference.classes)
    return {
        "absorber_precision": _weighted(precision(view, np.ones_like(view.forget), reference.classes), flow),
        "absorber_false_matches": _weighted(wrong, flow),
        "absorber_recall_change": _weighted(change, flow),
        "class_recall_change": change.tolist(),
    }


def precision(view: View, asked: np.ndarray, classes: int) -> np.ndarray:
    """For each class the share of right answers among the `asked` samples [n] taken for it, [classes]; NaN for none."""
    predicted = view.logits.argmax(axis=1)
    answers = np.bincount(predicted[asked], minlength=classes)
    right = np.bincount(predicted[asked & (predicted == view.labels)], minlength=classes)
    return _quotient(right, answers)


def recall(view: View, classes: int) -> np.ndarray:
    """For each class the share of its samples that are taken for it, [classes]; NaN for a class without samples."""
    counts = np.bincount(view.labels, minlength=classes)
    right = np.bincount(view.labels[view.logits.argmax(axis=1) == view.labels], minlength=classes)
    return _quotient(right, counts)


def _quotient(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0))


def _weighted(values: np.ndarray, weights: np.ndarray) -> float | None:
    known = np.isfinite(values) & (weights > 0)
    return float(np.average(values[known], weights=weights[known])) if known.any() else None


DECLARED = (
    Finding(
        "absorber_precision",
        "absorber precision",
        "of what is called like the classes that took the forgotten one in, the share that is right",
        scale="0 to 1",
    ),
    Finding(
        "absorber_false_matches",
        "absorber false matches",
        "of the retain samples called like the classes that took the forgotten one in, the share that is wrong",
        scale="0 to 1",
    ),
    Finding(
        "absorber_recall_change",
        "absorber recall change",
        "accuracy on the classes that took the forgotten one in, minus the original's",
        scale="-1 to 1",
    ),
    Finding(
        "class_recall_change",
        "recall change by class",
        "accuracy on each class minus the original's",
        scale="-1 to 1",
        kind="list",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "transformation_damage": Audit(
        "transformation_damage",
        TransformationDamageSettings,
        measure,
        findings=DECLARED,
        about="what is now called by the name of the classes that took in the forgotten one?",
    )
}
