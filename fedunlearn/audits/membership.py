"""Class-fair membership inference: can one tell that the model was trained on the forget samples, and not others?

A member is a training sample of the forget set, a non-member a test sample of the same class. Attacks that compare
forget samples with samples of other classes, or that look at the forgotten logit, only find out which class a sample
has (the objection is made in docs/audits.md). Here forgotten logits are left out, and members are ranked against
non-members of their own class alone. Attack by a classifier on a model's outputs: Shokri et al., arXiv 1610.05820;
the class-fair form is our reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import entr, log_softmax, logsumexp
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.audits.linear_probe import stratified
from fedunlearn.randomness import derive, numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import AtLeast, Count


@dataclass(frozen=True)
class MembershipSettings:
    """The attack and its cross-validation."""

    samples: Count = 2000  # members, and non-members, at most; the same share of every class
    folds: Annotated[int, AtLeast(2)] = 5  # the attack is scored on samples that it was not fitted on
    repeats: Count = 4  # ways to cut the folds; more of them, less chance in the result


def measure(evidence: Evidence, reference: Reference, settings: MembershipSettings) -> Findings:
    """`membership_auc` in [0, 1]: how often a member looks more like one than a non-member of its class does.

    `membership_distance` = |membership_auc - 0.5| in [0, 0.5]. Both None if there are fewer than two of either.
    """
    known = ~np.isin(np.arange(reference.classes), reference.forget_classes)
    stream = numpy_stream(reference.seed, "audit", "membership")
    members = _chosen(evidence.train, evidence.train.forget, settings.samples, stream)
    asked = np.unique(evidence.train.labels[members])
    others = _chosen(evidence.test, np.isin(evidence.test.labels, asked), settings.samples, stream)
    if min(len(members), len(others)) < 2:
        return dict.fromkeys(FINDINGS)
    signs = np.concatenate([signals(evidence.train, members, known), signals(evidence.test, others, known)])
    labels = np.concatenate([evidence.train.labels[members], evidence.test.labels[others]])
    member = np.arange(len(signs)) < len(members)
    auc = attacked(signs, labels, member, settings, reference.seed)
    return {"membership_auc": auc, "membership_distance": None if auc is None else abs(auc - 0.5)}


def signals(view: View, positions: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What the attack sees of the samples at `positions`, float64 [n, k].

    The logits of the classes that are `known` (bool [classes]), the log of their sum of exponentials, the entropy of
    their softmax, the margin of the best over the second, and the log-probability of the sample's label where that
    is a known class (0 where not).
    """
    logits = view.logits[positions].astype(np.float64)
    allowed = logits[:, known]
    log_p = log_softmax(allowed, axis=1)
    second, first = np.sort(allowed, axis=1)[:, -2:].T if allowed.shape[1] > 1 else (0.0, allowed[:, 0])
    labels = view.labels[positions]
    every = np.zeros_like(logits)
    every[:, known] = log_p
    own = every[np.arange(len(labels)), labels]
    return np.column_stack([allowed, logsumexp(allowed, axis=1), entr(np.exp(log_p)).sum(axis=1), first - second, own])


def attacked(
    signs: np.ndarray, labels: np.ndarray, member: np.ndarray, settings: MembershipSettings, seed: int
) -> float | None:
    """AUC within classes of a logistic regression on `signs` [n, k], over folds that it was not fitted on.

    None where no fold holds a member and a non-member of one class.
    """
    folds = min(settings.folds, int(member.sum()), int((~member).sum()))
    right = pairs = 0.0
    for number in range(settings.repeats):
        cut = StratifiedKFold(folds, shuffle=True, random_state=derive(seed, "audit", "membership", number) % 2**32)
        for fitted, held in cut.split(signs, member):
            scores = _scores(signs[fitted], member[fitted], signs[held])
            for won, of in ranked_pairs(scores, labels[held], member[held]):
                right, pairs = right + won, pairs + of
    return right / pairs if pairs else None


def ranked_pairs(scores: np.ndarray, labels: np.ndarray, member: np.ndarray) -> Iterator[tuple[float, int]]:
    """For each class: the pairs (member, non-member) in which the member scores higher, ties as half, of how many."""
    for label in np.unique(labels):
        own, is_member = scores[labels == label], member[labels == label]
        m = int(is_member.sum())
        yield float(rankdata(own)[is_member].sum() - m * (m + 1) / 2), m * (len(own) - m)


def _chosen(view: View, wanted: np.ndarray, most: int, stream: np.random.Generator) -> np.ndarray:
    positions = np.flatnonzero(wanted)
    return positions[stratified(view.labels[positions], most, stream)] if len(positions) else positions


def _scores(signs: np.ndarray, member: np.ndarray, asked: np.ndarray) -> np.ndarray:
    attack = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    attack.fit(signs, member)
    return np.asarray(attack.decision_function(asked))


DECLARED = (
    Finding(
        "membership_auc",
        "membership AUC",
        "how well forgotten training samples are told from test samples of their class; 0.5: not at all",
        scale="0 to 1",
    ),
    Finding(
        "membership_distance",
        "membership distance",
        "how far the membership AUC is from 0.5, where nothing is told",
        "distance",
        "0 to 0.5",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "membership": Audit(
        "membership",
        MembershipSettings,
        measure,
        findings=DECLARED,
        about="can one tell that the model was trained on the forget samples, and not on others of their class?",
    )
}
