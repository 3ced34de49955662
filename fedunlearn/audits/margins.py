"""Margins: how far a model's logit of one class is above those of all others, and which class to ask about."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from fedunlearn.audits.base import Reference


def asked_for(reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """The classes among which probabilities are taken (bool [classes]), and the class asked about for each sample [n].

    The samples are the forget samples of the training split. Of a forgotten class: among the classes that stay, the one
    that the retrained models take the sample for, by the mean of their logits, which ranks classes as the mean of their
    log-probabilities does. Below class level: among all classes, the sample's label.
    """
    shown = np.isin(np.arange(reference.classes), reference.retain_classes)
    train = reference.original.train
    if not reference.forget_classes:
        return shown, train.labels[train.forget]
    logits = np.stack([model.train.logits[train.forget] for model in reference.retrained])
    return shown, _among(logits.mean(axis=0, dtype=np.float64), shown).argmax(axis=1)


def margins(logits: np.ndarray, shown: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """log p/(1 − p) [n], p the probability among `shown` (bool [classes]) of each sample's class in `classes` [n]."""
    others = _among(logits, shown)
    rows = np.arange(len(classes))
    own = others[rows, classes]
    others[rows, classes] = -np.inf
    return np.asarray(own - logsumexp(others, axis=1))


def _among(logits: np.ndarray, shown: np.ndarray) -> np.ndarray:
    return np.where(shown, logits.astype(np.float64), -np.inf)
