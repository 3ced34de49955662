"""IDI, the information difference index: how much of what tells the forgotten class is left, layer by layer.

Jeon et al., "An information theoretic evaluation metric for strong unlearning" (arXiv 2405.17878): with I_l(M) the
information that layer l of model M has about "is this sample of a forgotten class?", ID(M) is the sum over layers of
I_l(M) − I_l(retrained), and IDI = ID(unlearned) / ID(original). What can be seen of the answers can be had by changing
the head alone; the index then stays at 1, since the features are those of the original.

Our reading: the paper estimates information by a contrastive bound with the later layers as its critic, which has to be
trained for every layer of every model. Here it is the bound that a logistic regression gives: H(Y) − its cross-entropy
on test samples. Differences are signed: a model with less than retrained ones has an index below 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedunlearn.audits.base import Audit, Evidence, FigureData, Findings, Reference, View, runnable
from fedunlearn.models.layers import layer_outputs
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count, Whole

INDEX, BY_LAYER = "idi", "idi_layers"
LEAST_DIFFERENCE = 0.01  # bits, over all layers: below, the index would be noise over noise
STRENGTH = 0.01  # C of the regression; weak ones are sure of themselves, and retrained models then differ more
AT_ONCE = 512  # samples


@dataclass(frozen=True)
class IdiSettings:
    """What is looked at."""

    samples: Whole = 0  # forget, and retain, training samples that probes are fitted on, at most, such as 500; 0: none
    layers: Count = 5  # at most; the features are always one of them, the others spread evenly before them
    side: Count = 2  # places that maps are averaged to, along each side


def measure(evidence: Evidence, reference: Reference, settings: IdiSettings) -> Findings:
    """`idi`: 0 as retrained, 1 as the original, signed; and the information by layer in bits, 0 to 1.

    Nothing unless asked for. None below class level; the index also without retrained models, and where the original
    has less than 0.01 bits more than these over all layers.
    """
    if not settings.samples:
        return {}
    if not reference.forget_classes:
        return dict.fromkeys((INDEX, BY_LAYER))
    own, original, *retrained = (
        information(each, reference, settings) for each in (evidence, reference.original, *reference.retrained)
    )
    return {INDEX: index(own, original, np.array(retrained)), BY_LAYER: _drawn(own)}


def index(own: np.ndarray, original: np.ndarray, retrained: np.ndarray) -> float | None:
    """ID(own) / ID(original), of information [layers] and, of retrained models, [models, layers]; None for 0 / 0."""
    if not len(retrained):
        return None
    there = retrained.mean(axis=0)
    whole = float((original - there).sum())
    return float((own - there).sum()) / whole if whole >= LEAST_DIFFERENCE else None


def information(evidence: Evidence, reference: Reference, settings: IdiSettings) -> np.ndarray:
    """What each layer says of "forgotten or not?", in bits, float64 [layers]; worked out once for each model."""
    key = ("idi", settings, reference.seed, reference.forget_classes)
    found: np.ndarray = evidence.notes.once(key, lambda: _information(evidence, reference.seed, settings))
    return found


def _information(evidence: Evidence, seed: int, settings: IdiSettings) -> np.ndarray:
    train, test = evidence.train, evidence.test
    stream = numpy_stream(seed, "audit", "idi")
    both = (np.flatnonzero(mask) for mask in (train.forget, ~train.forget))
    rows = np.concatenate([stream.permutation(each)[: settings.samples] for each in both])
    fitted = _layers(evidence, train, rows, settings)
    asked = _layers(evidence, test, np.arange(len(test.groups)), settings)
    return np.array([bits(x, train.forget[rows], z, test.forget) for x, z in zip(fitted, asked, strict=True)])


def bits(x: np.ndarray, is_forgotten: np.ndarray, z: np.ndarray, truth: np.ndarray) -> float:
    """A lower bound, 0 to 1, of the information between features and "forgotten?", both answers being as likely.

    H(Y) = 1 minus the cross-entropy on features z [m, d] with `truth`, bool [m], of a logistic regression fitted to
    features x [n, d] with `is_forgotten`, bool [n]. One that says nothing would do as well, so it is never below 0.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=STRENGTH, class_weight="balanced"))
    probe.fit(x, is_forgotten)
    said = probe.decision_function(z)
    losses = np.logaddexp(0, np.where(truth, -said, said)) / np.log(2)
    return max(0.0, 1 - float(losses[truth].mean() + losses[~truth].mean()) / 2)


def _layers(evidence: Evidence, view: View, rows: np.ndarray, settings: IdiSettings) -> list[np.ndarray]:
    """Of the samples at `rows`, float64 [n, d] for each layer that is looked at."""
    model = runnable(evidence)
    parts = [
        layer_outputs(model, view.samples.at(part), settings.side)
        for part in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE))
    ]
    count = len(parts[0])
    chosen = np.unique(np.linspace(count - 1, 0, settings.layers).round().astype(int))
    return [torch.cat([part[layer] for part in parts]).double().cpu().numpy() for layer in chosen]


def _drawn(found: np.ndarray) -> FigureData:
    return {"layer": list(range(1, len(found) + 1)), "information (bits)": found.tolist()}


DECLARED = (
    Finding(
        INDEX,
        "IDI",
        'how much of what layers know of "forgotten or not?" is left: 0 as retrained, 1 as the original',
        "up",
        "not bounded",
    ),
    Finding(
        BY_LAYER,
        "information by layer",
        'what each layer knows of "forgotten or not?", first to last',
        kind="figure",
        drawn="curves",
    ),
)
AUDITS = {
    "idi": Audit(
        "idi",
        IdiSettings,
        measure,
        findings=DECLARED,
        about="how deep does the forgotten class still go, layer by layer? Off unless there are samples",
    )
}
