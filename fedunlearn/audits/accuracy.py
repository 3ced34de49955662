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


@dataclass(frozen=True)
class AccuracySettings:
    """Accuracy has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: AccuracySettings) -> Findings:
    """Shares of samples in [0, 1] whose largest logit, among all classes, is that of their label.

    `forget_accuracy` and `retain_accuracy` are of the test split (the first is None below class level, where no test
    sample is forgotten); `_train` ones are of the training split; `class_accuracy` has one entry per class, of the
    test split. Raises RunError if a class has no test sample.
    """
    return {
        "forget_accuracy": _share_right(evidence.test, evidence.test.forget),
        "retain_accuracy": _share_right(evidence.test, ~evidence.test.forget),
        "forget_accuracy_train": _share_right(evidence.train, evidence.train.forget),
        "retain_accuracy_train": _share_right(evidence.train, ~evidence.train.forget),
        "class_accuracy": class_accuracy(evidence.test, reference.classes),
    }


def class_accuracy(view: View, classes: int) -> list[float]:
    """Accuracy on the samples of each class. Raises RunError for a class without samples."""
    counts = np.bincount(view.labels, minlength=classes)
    if not counts.all():
        raise RunError(f"class {counts.argmin()} has no sample in the test split, so that its accuracy is not defined")
    right = np.bincount(view.labels[_right(view)], minlength=classes)
    return [float(share) for share in right / counts]


def _share_right(view: View, chosen: np.ndarray) -> float | None:
    return float(_right(view)[chosen].mean()) if chosen.any() else None


def _right(view: View) -> np.ndarray:
    return np.asarray(view.logits.argmax(axis=1) == view.labels)


DECLARED = (
    Finding(
        "forget_accuracy",
        "forget accuracy",
        "share of the test samples of forgotten classes that are still called by their name",
        "up",
        "0 to 1",
        headline=True,
    ),
    Finding(
        "retain_accuracy",
        "retain accuracy",
        "share of the test samples of the other classes that are called right",
        scale="0 to 1",
        headline=True,
    ),
    Finding(
        "forget_accuracy_train",
        "forget accuracy (train)",
        "share of the training samples to be forgotten that are called right",
        "up",
        "0 to 1",
        stands_in_for="forget_accuracy",
    ),
    Finding(
        "retain_accuracy_train",
        "retain accuracy (train)",
        "share of the other training samples that are called right",
        scale="0 to 1",
    ),
    Finding("class_accuracy", "accuracy by class", "the accuracy on each class", scale="0 to 1", kind="list"),
)
AUDITS = {"accuracy": Audit("accuracy", AccuracySettings, measure, findings=DECLARED)}
