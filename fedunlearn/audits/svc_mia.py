"""The membership attack of public benchmarks: are forget samples taken for training samples or for test samples?

Jia et al., "Model Sparsity Can Simplify Machine Unlearning" (arXiv 2304.04934) and Fan et al., "SalUn" (arXiv
2310.12508), whose code it is: an SVM (RBF kernel, C = 3) learns to tell retain training samples (members) from test
samples (non-members) by a model's outputs; what is reported is the share of the forget training samples that it calls
non-members. With one signal at a time: is the answer right, probability of the label, entropy, modified entropy (Song
and Mittal, arXiv 2003.10595), all probabilities.

What it cannot show: at class level a retrained model, a masked head and every other model that gives the label a low
probability come out alike, since members are right and sure of their label and forget samples are not. It tells a
class, not whether its samples were trained on. `membership` is the attack that compares within classes.

The published code writes log p in the modified entropy where log(1 − p) is meant; here it is as defined. Members are
drawn by seed rather than the first ones, and both sides are bounded, since the time of an SVM grows with their square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import entr, softmax, xlog1py, xlogy
from sklearn.svm import SVC

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.audits.linear_probe import stratified
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Whole

STRENGTH = 3.0  # C, as in the published code
TINY = 1e-30  # of a probability, whose logarithm is taken


@dataclass(frozen=True)
class SvcMiaSettings:
    """Off unless there are samples."""

    samples: Whole = 0  # members, and non-members, at most, such as 1000; the same share of every class; 0: no attack


def measure(evidence: Evidence, reference: Reference, settings: SvcMiaSettings) -> Findings:
    """By signal, the share of the forget training samples that are taken for test samples, in [0, 1].

    Nothing unless asked for. None where there is no member, no non-member or no forget sample.
    """
    if not settings.samples:
        return {}
    train, test = evidence.train, evidence.test
    stream = numpy_stream(reference.seed, "audit", "svc_mia")
    sides = ((train, np.flatnonzero(~train.forget)), (test, np.arange(len(test.labels))))
    if not train.forget.any() or not all(len(rows) for _, rows in sides):
        return dict.fromkeys(FINDINGS)
    drawn = [signals(view, rows[stratified(view.labels[rows], settings.samples, stream)]) for view, rows in sides]
    asked = signals(train, np.flatnonzero(train.forget))
    return {f"svc_mia_{name}": taken_for_others(drawn[0][name], drawn[1][name], asked[name]) for name in SIGNALS}


def signals(view: View, positions: np.ndarray) -> dict[str, np.ndarray]:
    """What the attack sees of the samples at `positions`, by signal, float64 [n, k]."""
    p = softmax(view.logits[positions].astype(np.float64), axis=1)
    labels = view.labels[positions]
    own = np.eye(p.shape[1], dtype=bool)[labels]
    seen = {
        "correctness": p.argmax(axis=1) == labels,
        "confidence": p[own],
        "entropy": entr(p).sum(axis=1),
        "modified_entropy": modified_entropy(p, own),
    }
    return {**{name: values.astype(np.float64)[:, None] for name, values in seen.items()}, "probabilities": p}


def modified_entropy(p: np.ndarray, own: np.ndarray) -> np.ndarray:
    """−(1 − p_y) log p_y − Σ over c ≠ y of p_c log(1 − p_c), in nats [n]; `own` [n, classes] marks the label y.

    0 where the model is sure and right, large where it is sure and wrong.
    """
    label = xlogy(1 - p[own], np.maximum(p[own], TINY))
    others = np.where(own, 0.0, xlog1py(p, -np.minimum(p, 1 - np.finfo(float).eps))).sum(axis=1)
    return np.asarray(-label - others)


def taken_for_others(members: np.ndarray, others: np.ndarray, asked: np.ndarray) -> float:
    """The share of `asked` [n, k] that an SVM, fitted on `members` and `others`, calls no members."""
    attack = SVC(C=STRENGTH, kernel="rbf", gamma="auto")
    attack.fit(np.concatenate([members, others]), np.arange(len(members) + len(others)) < len(members))
    return float(1 - attack.predict(asked).mean())


SIGNALS = {
    "correctness": "by whether the answer is right",
    "confidence": "by the probability of the label",
    "entropy": "by the entropy of the answer",
    "modified_entropy": "by the modified entropy",
    "probabilities": "by all probabilities",
}
DECLARED = tuple(
    Finding(
        f"svc_mia_{name}",
        f"SVC-MIA, {name.replace('_', ' ')}",
        f"share of the forgotten training samples that a public benchmark's attack takes for test samples {by}; "
        "it tells the class, not membership",
        "as retrained",
        "0 to 1",
    )
    for name, by in SIGNALS.items()
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "svc_mia": Audit(
        "svc_mia",
        SvcMiaSettings,
        measure,
        findings=DECLARED,
        about="public benchmarks' membership attack, which tells classes apart. Off unless there are samples",
    )
}
