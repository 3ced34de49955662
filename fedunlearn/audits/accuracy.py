"""Accuracy on what is forgotten and on what stays. Necessary, and never sufficient.

A single number written into the head brings forget accuracy to zero with all knowledge still in place, which is what
the other audits are for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.errors import RunError
from fedunlearn.results.findings import Finding
from fedunlearn.tasks.base import EVERY


@dataclass(frozen=True)
class AccuracySettings:
    """Accuracy has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: AccuracySettings) -> Findings:
    """Mean scores in [0, 1] (see `Task.score`): for classes, the share of samples whose largest logit is their label's.

    `forget_accuracy` and `retain_accuracy` are of the test split (the first is None below class level, where no test
    sample is forgotten); `_train` ones are of the training split; `class_accuracy` has one entry per class, of the
    test split. Raises RunError if a class has no test sample.
    """
    return {
        "forget_accuracy": _mean_score(evidence.test, evidence.test.forget),
        "retain_accuracy": _mean_score(evidence.test, ~evidence.test.forget),
        "forget_accuracy_train": _mean_score(evidence.train, evidence.train.forget),
        "retain_accuracy_train": _mean_score(evidence.train, ~evidence.train.forget),
        "class_accuracy": class_accuracy(evidence.test, reference.classes),
    }


def class_accuracy(view: View, classes: int) -> list[float]:
    """Mean score of the samples of each class. Raises RunError for a class without samples."""
    counts = np.bincount(view.groups, minlength=classes)
    if not counts.all():
        raise RunError(f"class {counts.argmin()} has no sample in the test split, so that its accuracy is not defined")
    return [float(share) for share in np.bincount(view.groups, weights=view.score, minlength=classes) / counts]


def _mean_score(view: View, chosen: np.ndarray) -> float | None:
    return float(view.score[chosen].mean()) if chosen.any() else None


DECLARED = (
    Finding(
        "forget_accuracy",
        "forget accuracy",
        "share of the test samples of forgotten classes (of text: of their tokens) that are still called right",
        "up",
        "0 to 1",
        headline=True,
        finest="forget sample",
    ),
    Finding(
        "retain_accuracy",
        "retain accuracy",
        "share of the test samples of the other classes (of text: of their tokens) that are called right",
        scale="0 to 1",
        headline=True,
    ),
    Finding(
        "forget_accuracy_train",
        "forget accuracy (train)",
        "share of the training samples to be forgotten (of text: of their tokens) that are called right",
        "up",
        "0 to 1",
        stands_in_for="forget_accuracy",
        finest="forget sample",
    ),
    Finding(
        "retain_accuracy_train",
        "retain accuracy (train)",
        "share of the other training samples (of text: of their tokens) that are called right",
        scale="0 to 1",
    ),
    Finding("class_accuracy", "accuracy by class", "the accuracy on each class", scale="0 to 1", kind="list"),
)
AUDITS = {
    "accuracy": Audit(
        "accuracy",
        AccuracySettings,
        measure,
        findings=DECLARED,
        tasks=EVERY,
        about="forget and retain accuracy, on test and training data, and per class",
    )
}
