"""Class membership by neighbours (CMIA): are forget samples told from their nearest class as in a retrained model?

Ebrahimpour-Boroojeny, Wang and Sundaram, "Class membership inference" in arXiv 2506.20893 (there MIA-NN). A
retrained model takes forget samples for a neighbouring class, but not entirely: their retain logits still differ
from those of the neighbour's own samples by a certain degree. Code was not available; sample sizes, kernel and
averaging are our reading. It compares distributions of outputs and says nothing about single samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count


@dataclass(frozen=True)
class CmiaSettings:
    """How the two classes are told apart."""

    samples: Count = 500  # test samples of each of the two classes, at most
    splits: Count = 5  # ways to cut them into halves; each half is fitted on once and scored once


def measure(evidence: Evidence, reference: Reference, settings: CmiaSettings) -> Findings:
    """`cmia_auc` in [0, 1], mean over forgotten classes: 1, forget samples are told from their neighbour perfectly.

    `cmia_distance` = |cmia_auc - its mean over the other retrained models| in [0, 1]. None below class level and
    without retrained models (who name the neighbour); the distance also where there is no other retrained model.
    """
    if not reference.forget_classes or not reference.retrained:
        return dict.fromkeys(FINDINGS)
    pairs = [(label, neighbour(label, reference)) for label in reference.forget_classes]

    def told_apart(model: Evidence) -> float:
        """Once for each model, although all others are compared with it."""
        key = ("cmia", settings, reference.seed, *reference.retain_classes, *pairs)
        return float(
            model.notes.once(
                key, lambda: np.mean([separation(model.test, *pair, reference, settings) for pair in pairs])
            )
        )

    auc = told_apart(evidence)
    others = [told_apart(other) for other in reference.others(evidence)]
    return {"cmia_auc": auc, "cmia_distance": float(abs(auc - np.mean(others))) if others else None}


def neighbour(label: int, reference: Reference) -> int:
    """The retain class that the retrained models find likeliest, on average, on test samples of class `label`."""
    retain = reference.retain_classes
    views = [model.test for model in reference.retrained]
    likely = np.mean([softmax(view.logits[view.labels == label], axis=1).mean(axis=0) for view in views], axis=0)
    return int(retain[likely[retain].argmax()])


def separation(view: View, label: int, near: int, reference: Reference, settings: CmiaSettings) -> float:
    """AUC of an RBF-SVM for class `label` against class `near` on standardised retain logits, on held-out halves."""
    stream = numpy_stream(reference.seed, "audit", "cmia", label)
    groups = [stream.permutation(np.flatnonzero(view.labels == c))[: settings.samples] for c in (label, near)]
    logits = view.logits[:, reference.retain_classes].astype(np.float64)
    found = []
    for _ in range(settings.splits):
        one, other = zip(*(np.array_split(stream.permutation(group), 2) for group in groups), strict=True)
        for fitted, held in ((one, other), (other, one)):
            svm = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
            svm.fit(logits[np.concatenate(fitted)], _is_first(fitted))
            found.append(roc_auc_score(_is_first(held), svm.decision_function(logits[np.concatenate(held)])))
    return float(np.mean(found))


def _is_first(groups: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.repeat([True, False], [len(group) for group in groups])


DECLARED = (
    Finding(
        "cmia_auc",
        "CMIA AUC",
        "how well the forgotten class is told from its nearest neighbour by what is said of the others",
        scale="0 to 1",
    ),
    Finding(
        "cmia_distance", "CMIA distance", "how far the CMIA AUC is from that of retrained models", "distance", "0 to 1"
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "cmia": Audit(
        "cmia",
        CmiaSettings,
        measure,
        findings=DECLARED,
        about="are forget samples told from their nearest class as in a retrained model?",
    )
}
