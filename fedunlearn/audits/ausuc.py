"""AUSUC leak: how much of the forgotten class one number added to its logit brings back.

The area under the seen-unseen curve (Chao et al., ECCV 2016, arXiv 1605.04253) is how Mai et al. ("Fine-tuning is
fine, if calibrated", NeurIPS 2024) measure whether classes that a model seems to have lost are only outvoted. Here
the forgotten classes take the place of the unseen ones (our reading): gamma is added to their logits, and every
gamma gives a retain and a forget accuracy. The area does not change with any constant already in those logits, so
that masking the head gains nothing. A retrained model is far above zero, hence the comparison with it in `leak`.

Precision: thresholds are exact differences of the float32 logits. A constant c that was added in float32 has rounded
them to about |c| / 10^7 (0.00006 for c = 1000), which can swap samples that are nearer than that. It has to be
finite: no scalar brings back what infinity has overwritten. One as large as 10^9 rounds away what the forgotten
logits said, and the area comes out too small.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.results.findings import Finding

COST = 0.05  # retain accuracy that gamma_recovered may lose
LEAST_DIFFERENCE = 0.005  # below half a point of area between original and retrained models, leak is noise over noise


@dataclass(frozen=True)
class AusucSettings:
    """The curve is exact, so there is nothing to set."""


def measure(evidence: Evidence, reference: Reference, settings: AusucSettings) -> Findings:
    """`ausuc` in [0, 1], `leak` and `gamma_recovered` in [0, 1] of the test split. All None below class level.

    leak = (ausuc - mean ausuc of the retrained) / (ausuc of the original - mean ausuc of the retrained): 0 is as
    retrained, 1 is as if nothing had been done. None without retrained models, or if the original is not better
    than they are by at least 0.005. gamma_recovered: the largest forget accuracy on the curve at which retain
    accuracy is at most 0.05 below that of the model as it is (gamma = 0).
    """
    forgotten = reference.forget_classes
    if not forgotten:
        return {"ausuc": None, "leak": None, "gamma_recovered": None}
    found = area(evidence.test, forgotten)
    return {
        "ausuc": found,
        "leak": _leak(found, reference),
        "gamma_recovered": recovered(evidence.test, forgotten),
    }


def curve(logits: np.ndarray, labels: np.ndarray, forget_classes: Collection[int]) -> tuple[np.ndarray, np.ndarray]:
    """Retain and forget accuracy for every gamma that makes a difference, each [k], from gamma = -inf to +inf.

    `logits`: finite, [n, classes]; `labels`: [n], some forgotten and some not. A sample is predicted as a forgotten
    class where gamma exceeds its threshold: its best retain logit minus its best forgotten logit. So there is one
    point below all thresholds and one above each different threshold; retain accuracy never rises and forget accuracy
    never falls along the curve. Samples with one threshold change together, which the trapezoid takes as half of
    either order. Costs one sort. Raises ValueError for logits that are not finite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("the curve is defined for finite logits only")
    wide = logits.astype(np.float64)  # differences of float32 are exact in float64
    forgotten = np.isin(np.arange(logits.shape[1]), list(forget_classes))
    of_forgotten = forgotten[labels]
    best_retain, best_forget = (np.where(allowed, wide, -np.inf) for allowed in (~forgotten, forgotten))
    right_below = best_retain.argmax(axis=1) == labels  # retain samples only: no other class was allowed
    right_above = best_forget.argmax(axis=1) == labels  # forget samples only
    values, step = np.unique(best_retain.max(axis=1) - best_forget.max(axis=1), return_inverse=True)
    lost, won = (np.bincount(step[right], minlength=len(values)) for right in (right_below, right_above))
    retain_right = right_below.sum() - np.concatenate([[0], np.cumsum(lost)])
    forget_right = np.concatenate([[0], np.cumsum(won)])
    return retain_right / (~of_forgotten).sum(), forget_right / of_forgotten.sum()


def area(view: View, forget_classes: Collection[int]) -> float:
    """AUSUC, in [0, 1]: forget accuracy integrated over retain accuracy by trapezoids."""
    retain, forget = curve(view.logits, view.labels, forget_classes)
    return float(trapezoid(forget[::-1], retain[::-1]))


def recovered(view: View, forget_classes: Collection[int]) -> float:
    """The forget accuracy that one scalar brings back at a cost of at most 5 points of retain accuracy."""
    retain, forget = curve(view.logits, view.labels, forget_classes)
    kept = ~np.isin(view.labels, list(forget_classes))
    now = (view.logits.argmax(axis=1) == view.labels)[kept].mean()
    return float(forget[retain >= now - COST - 1e-12].max())  # the margin keeps a cost of exactly 5 points in


def _leak(found: float, reference: Reference) -> float | None:
    if not reference.retrained:
        return None
    retrained = np.mean([area(other.test, reference.forget_classes) for other in reference.retrained])
    difference = area(reference.original.test, reference.forget_classes) - retrained
    return float((found - retrained) / difference) if difference >= LEAST_DIFFERENCE else None


DECLARED = (
    Finding(
        "ausuc",
        "AUSUC",
        "what the logits know: forget against retain accuracy, whatever constant is added to the forgotten ones",
        "up",
        "0 to 1",
    ),
    Finding(
        "leak",
        "AUSUC leak",
        "how much of what the logits knew is left: 0 as retrained, 1 as the original",
        "up",
        "not bounded",
        headline=True,
        counted=True,
    ),
    Finding(
        "gamma_recovered",
        "accuracy recovered by γ",  # noqa: RUF001 (Greek)
        "forget accuracy that one added constant brings back, for 5 points of retain accuracy",
        "up",
        "0 to 1",
        counted=True,
        finest="forget sample",
    ),
)
AUDITS = {
    "ausuc": Audit(
        "ausuc",
        AusucSettings,
        measure,
        findings=DECLARED,
        about="how much of the forgotten class one number added to its logit brings back",
    )
}
