"""Class flow: what the model takes the forgotten class for, and whether a retrained model does the same.

A retrained model spreads forget samples over the classes they resemble. Methods that push them all into one class,
or that answer with far more confidence, differ from it although their forget accuracy is the same: zero. Comparing
predictions on forget samples with those of several retrained models follows Ebrahimpour-Boroojeny et al.
(arXiv 2506.20893); these divergences between distributions of predicted classes are our reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.audits.divergence import jensen_shannon
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class ClassFlowSettings:
    """Class flow has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: ClassFlowSettings) -> Findings:
    """Where the test samples of the forgotten classes go. All None below class level.

    `class_flow` [classes]: share predicted as each class, any class allowed. `class_flow_retain` [classes]: the same
    with only retain classes allowed (0 for forgotten ones). `flow_confidence`: mean over the samples of the largest
    softmax probability among retain classes. `flow_tv`, `flow_js`: total variation and Jensen-Shannon divergence
    (base 2), both in [0, 1], between `class_flow_retain` and its mean over the (other)
    retrained models; None without any.
    """
    if not reference.forget_classes:
        return dict.fromkeys(FINDINGS)
    retain = reference.retain_classes
    view = evidence.test
    flow = retain_flow(view, retain)
    findings: Findings = {
        "class_flow": shares(view.logits[view.forget].argmax(axis=1), reference.classes).tolist(),
        "class_flow_retain": flow.tolist(),
        "flow_confidence": float(_retain_probabilities(view, retain).max(axis=1).mean()),
        "flow_tv": None,
        "flow_js": None,
    }
    others = reference.others(evidence)
    if others:
        expected = np.mean([retain_flow(other.test, retain) for other in others], axis=0)
        findings |= {"flow_tv": total_variation(flow, expected), "flow_js": float(jensen_shannon(flow, expected))}
    return findings


def retain_flow(view: View, retain: np.ndarray) -> np.ndarray:
    """Share [classes] of the forget samples predicted as each class if only the classes in `retain` are allowed."""
    predicted = retain[view.logits[view.forget][:, retain].argmax(axis=1)]
    return shares(predicted, view.logits.shape[1])


def shares(predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often each class occurs in `predicted` [n], as shares [classes] that add up to 1."""
    return np.bincount(predicted, minlength=classes) / len(predicted)


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the sum of absolute differences: the share of samples that would have to be predicted otherwise."""
    return float(np.abs(p - q).sum() / 2)


def _retain_probabilities(view: View, retain: np.ndarray) -> np.ndarray:
    return np.asarray(softmax(view.logits[view.forget][:, retain].astype(np.float64), axis=1))


DECLARED = (
    Finding(
        "class_flow",
        "class flow",
        "share of the forget samples that is taken for each class",
        scale="adds up to 1",
        kind="list",
    ),
    Finding(
        "class_flow_retain",
        "class flow among retain classes",
        "the same share where forgotten classes are no choice",
        scale="adds up to 1",
        kind="list",
    ),
    Finding(
        "flow_confidence",
        "flow confidence",
        "how sure of its answer on forget samples, where forgotten classes are no choice",
        scale="1/(number of retain classes) to 1",
    ),
    Finding(
        "flow_tv",
        "flow TV",
        "share of the forget samples to be called otherwise to match the retrained models",
        "distance",
        "0 to 1",
        headline=True,
    ),
    Finding(
        "flow_js",
        "flow JS",
        "divergence of what forget samples are called from what the retrained models call them, in bits",
        "distance",
        "0 to 1",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "class_flow": Audit(
        "class_flow",
        ClassFlowSettings,
        measure,
        findings=DECLARED,
        about="what forget samples are taken for, compared with the retrained models",
    )
}
