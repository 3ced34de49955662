"""Confidence: how sure is a model of what it was to forget, and of what it never saw?

A model that is surer of forgotten training samples than of test samples of the same kind still knows them. Whether it
is surer than models that never saw them, the retrained models beside it tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Positive


@dataclass(frozen=True)
class ConfidenceSettings:
    """On the command line, audit.confidence.temperature=2."""

    temperature: Positive = 1.0  # of the softmax


def measure(evidence: Evidence, reference: Reference, settings: ConfidenceSettings) -> Findings:
    """Mean largest probability, in (0, 1], over the forget samples of the training split and of the test split.

    The second is None below class level, where no test sample is forgotten.
    """
    return {
        "forget_confidence": _mean(evidence.train, settings.temperature),
        "forget_confidence_test": _mean(evidence.test, settings.temperature),
    }


def _mean(view: View, temperature: float) -> float | None:
    if not view.forget.any():
        return None
    probabilities: np.ndarray = softmax(view.logits[view.forget] / temperature, axis=1)
    return float(probabilities.max(axis=1).mean())


DECLARED = (
    Finding(
        "forget_confidence",
        "forget confidence",
        "mean probability of the most likely class on the training samples to be forgotten",
        "up",
        "0 to 1",
        headline=True,
    ),
    Finding(
        "forget_confidence_test",
        "forget confidence (test)",
        "mean probability of the most likely class on test samples of forgotten classes",
        "up",
        "0 to 1",
    ),
)
AUDIT = Audit("confidence", ConfidenceSettings, measure, findings=DECLARED, about="how sure a model still is")
