"""Request leak: who sees two models in a row, before and after unlearning, guesses what was forgotten between them.

Label inference attacks against federated unlearning (ULIA, arXiv 2508.06789; FUIA, arXiv 2502.14558, does so on its way
to images): server and clients have both models, and what a request was about can itself be private. Three attackers
give each class a score, and the rank of the forgotten class says how well they guess; who knows nothing is at chance.
What they have and how they score is our reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax
from torch import nn

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.audits.transformation_damage import recall
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class RequestLeakSettings:
    """There is nothing to set."""


def measure(evidence: Evidence, reference: Reference, settings: RequestLeakSettings) -> Findings:
    """Ranks of the forgotten class, from 1, where it is guessed; of the original, which nothing came before, chance.

    Below class level: of the class that most forgotten samples are of. Of several classes: the mean of their ranks,
    each among all others. None for rows where the head is not linear, and all None if every class is forgotten.
    """
    original, true = reference.original, forgotten(reference)
    if true.all():
        return dict.fromkeys(FINDINGS)
    heads = [_rows(each.model) for each in (original, evidence)]
    moved = None if heads[0] is None or heads[1] is None else np.linalg.norm(heads[1] - heads[0], axis=1)
    before, after = original.test, evidence.test
    kept = np.isin(before.labels, reference.retain_classes)
    scores = moved, silenced(before, after, kept), accuracy(before) - accuracy(after)
    return {name: None if score is None else rank(score, true) for name, score in zip(FINDINGS, scores, strict=True)}


def forgotten(reference: Reference) -> np.ndarray:
    """What is to be guessed, bool [classes]: the forgotten classes, or the one of most forgotten samples."""
    train = reference.original.train
    most = np.bincount(train.labels[train.forget], minlength=reference.classes).argmax()
    return np.isin(np.arange(reference.classes), reference.forget_classes or (most,))


def rank(scores: np.ndarray, true: np.ndarray) -> float:
    """1 + the number of other classes with a higher score, equal ones half; a mean over `true`, bool [classes].

    At chance it is 1 + half the number of other classes.
    """
    others, own = scores[~true], scores[true][:, None]
    return float(1 + np.mean(((others > own) + 0.5 * (others == own)).sum(axis=1)))


def silenced(before: View, after: View, kept: np.ndarray) -> np.ndarray:
    """By how much less likely each class has become on images of others, in nats, [classes]; `kept`: which images."""
    fell = log_softmax(before.logits[kept].astype(np.float64), 1) - log_softmax(
        after.logits[kept].astype(np.float64), 1
    )
    of_others = before.labels[kept][:, None] != np.arange(fell.shape[1])
    return np.asarray((fell * of_others).sum(axis=0) / np.maximum(of_others.sum(axis=0), 1))


def accuracy(view: View) -> np.ndarray:
    """Of each class, float64 [classes]; 0 where there is no sample of it."""
    return np.asarray(np.nan_to_num(recall(view, view.logits.shape[1])))


def _rows(model: nn.Module) -> np.ndarray | None:
    """The head's weights and bias, float64 [classes, d + 1]."""
    head = model.head if hasattr(model, "head") else None
    if not isinstance(head, nn.Linear) or head.bias is None:
        return None
    weight, bias = (part.detach().cpu().double().numpy() for part in (head.weight, head.bias))
    return np.column_stack([weight, bias])


DECLARED = (
    Finding(
        "request_rank_rows",
        "request rank by rows",
        "place of the forgotten class among rows of the head, those that moved most first; 1: guessed",
        scale="1 to the number of classes",
    ),
    Finding(
        "request_rank_outputs",
        "request rank by outputs",
        "place of the forgotten class among classes that became less likely on retain images; 1: guessed",
        scale="1 to the number of classes",
    ),
    Finding(
        "request_rank_accuracy",
        "request rank by accuracy",
        "place of the forgotten class among classes that lost accuracy on images of all; 1: guessed",
        scale="1 to the number of classes",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "request_leak": Audit(
        "request_leak",
        RequestLeakSettings,
        measure,
        findings=DECLARED,
        about="can those who see the model before and after guess what was forgotten?",
    )
}
