"""Answer probability: how likely does a model still find the very answers that it was to forget?

TOFU (Maini et al., arXiv 2401.06121, section 2.2.2): the probability of an answer given its question, to the power of
one by its number of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedunlearn.audits.answering import LANGUAGE, mean, probabilities
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class AnswerProbabilitySettings:
    """Answer probability has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: AnswerProbabilitySettings) -> Findings:
    """Means in [0, 1] over training samples, those to be forgotten and the others. None where there are none."""
    view, found = evidence.train, probabilities(evidence.train)
    return {
        "forget_probability": mean(found[view.forget]),
        "retain_probability": mean(found[~view.forget]),
    }


DECLARED = (
    Finding(
        "forget_probability",
        "answer probability",
        "how likely, token by token, a model finds the training answers that were to be forgotten",
        "up",
        "0 to 1",
        headline=True,
        counted=True,
    ),
    Finding(
        "retain_probability", "answer probability (retain)", "the same of the other training answers", scale="0 to 1"
    ),
)
AUDITS = {
    "answer_probability": Audit(
        "answer_probability",
        AnswerProbabilitySettings,
        measure,
        findings=DECLARED,
        tasks=LANGUAGE,
        about="how likely are the forgotten answers?",
    )
}
