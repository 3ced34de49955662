"""Linear probe: is the forgotten class still in the features?

The encoder is frozen and a fresh linear softmax classifier is fitted on its features, forgotten classes included
(Alain & Bengio, arXiv 1610.01644; used against class unlearning in "An Illusion of Unlearning?", arXiv 2604.08271).
Features of a retrained model separate a class they never saw quite well too, so only the excess over it counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count


@dataclass(frozen=True)
class LinearProbeSettings:
    """How the probe is fitted."""

    # training samples that the probe is fitted on, about; the same share of every class, at least one
    samples: Count = 2000


def measure(evidence: Evidence, reference: Reference, settings: LinearProbeSettings) -> Findings:
    """`probe_accuracy` over all classes and `probe_forget_accuracy` on forgotten ones (None below class level).

    Both are shares of test samples in [0, 1]. Every model is probed with the same training samples. Of text, a class is
    a group.
    """
    stream = numpy_stream(reference.seed, "audit", "linear_probe")
    chosen = stratified(evidence.train.groups, settings.samples, stream)
    # features that are constant in the chosen samples are only centred; float64 lets lbfgs converge alike everywhere
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(evidence.train.features[chosen].astype(np.float64), evidence.train.groups[chosen])
    right = probe.predict(evidence.test.features.astype(np.float64)) == evidence.test.groups
    forget = evidence.test.forget
    return {
        "probe_accuracy": float(right.mean()),
        "probe_forget_accuracy": float(right[forget].mean()) if reference.forget_classes else None,
    }


def stratified(labels: np.ndarray, samples: int, stream: np.random.Generator) -> np.ndarray:
    """Positions of about `samples` of `labels`, sorted: the same share of every class, at least one of each."""
    share = min(1.0, samples / len(labels))
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    picked = [stream.permutation(group)[: max(1, round(share * len(group)))] for group in groups]
    return np.sort(np.concatenate(picked))


DECLARED = (
    Finding(
        "probe_accuracy", "probe accuracy", "accuracy of a fresh linear head on the frozen features", scale="0 to 1"
    ),
    Finding(
        "probe_forget_accuracy",
        "probe forget accuracy",
        "accuracy of a fresh linear head on the forgotten classes: are they still in the features?",
        "up",
        "0 to 1",
        headline=True,
        finest="forget sample",
    ),
)
AUDITS = {
    "linear_probe": Audit(
        "linear_probe",
        LinearProbeSettings,
        measure,
        findings=DECLARED,
        tasks=frozenset({"classification", "language"}),
        about="is the forgotten class still in the features?",
    )
}
