"""Prediction error: how far off is the model for those it was to forget, beside models that never saw them?

A model that was trained on somebody is nearer to their values than one that was not. The error on the *training*
samples to be forgotten shows that best, since it is where memory and generalisation differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class PredictionErrorSettings:
    """The error has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: PredictionErrorSettings) -> Findings:
    """Mean absolute errors, in standard deviations of the training set's target. None where there is no sample."""
    train, test = evidence.train, evidence.test
    return {
        "forget_error_train": error(train, train.forget),
        "forget_error": error(test, test.forget),
        "retain_error": error(test, ~test.forget),
    }


def error(view: View, chosen: np.ndarray) -> float | None:
    """Mean |prediction − target| of the chosen samples (bool [n])."""
    distance = np.abs(view.said["value"] - view.targets)
    return float(distance[chosen].mean()) if chosen.any() else None


DECLARED = (
    Finding(
        "forget_error_train",
        "forget error (train)",
        "mean absolute error on the training samples to be forgotten, in standard deviations of the target",
        "down",
        "0 and up",
        headline=True,
        counted=True,
    ),
    Finding(
        "forget_error",
        "forget error",
        "the same on the test samples of the forgotten groups",
        "down",
        "0 and up",
    ),
    Finding("retain_error", "retain error", "the same on the test samples of the other groups", scale="0 and up"),
)
AUDIT = Audit("prediction_error", PredictionErrorSettings, measure, findings=DECLARED, tasks=frozenset({"regression"}))
