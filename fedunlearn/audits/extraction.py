"""Extraction strength: how much of an answer does a model complete by itself?

Carlini et al., "Extracting Training Data from Large Language Models", arXiv 2012.07805, as a share after Wang et al.
(arXiv 2406.13356): 1 − k / T, where the model, given the question and k of the answer's T tokens, gets all of the
others right. Where not even the last token is right, k is T, and the strength 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.answering import LANGUAGE, mean, scored
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class ExtractionSettings:
    """Extraction strength has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: ExtractionSettings) -> Findings:
    """Means in [0, 1] over training samples, those to be forgotten and the others. None where there are none."""
    view, found = evidence.train, strengths(evidence.train)
    return {
        "forget_extraction": mean(found[view.forget]),
        "retain_extraction": mean(found[~view.forget]),
    }


def strengths(view: View) -> np.ndarray:
    """1 − k / T of each answer, float64 [n]; 0 for one without tokens."""
    rows = zip(view.said["right"], scored(view), strict=True)
    return np.array([trailing(right[counts]) for right, counts in rows])


def trailing(right: np.ndarray) -> float:
    """The share of the tokens (bool [T]) after the last wrong one."""
    wrong = np.flatnonzero(~right)
    return float(len(right) - 1 - wrong[-1]) / len(right) if len(wrong) else float(len(right) > 0)


DECLARED = (
    Finding(
        "forget_extraction",
        "extraction strength",
        "share of a training answer to be forgotten that a model completes by itself once it is given the rest",
        "up",
        "0 to 1",
        headline=True,
        counted=True,
    ),
    Finding(
        "retain_extraction", "extraction strength (retain)", "the same of the other training answers", scale="0 to 1"
    ),
)
AUDITS = {
    "extraction": Audit(
        "extraction",
        ExtractionSettings,
        measure,
        findings=DECLARED,
        tasks=LANGUAGE,
        about="how much of the forgotten answers does a model complete by itself?",
    )
}
