"""Dormancy: the federation goes on training on what it retains. Does the forgotten class come back by itself?

Siddiqui et al. ("From dormant to deleted", arXiv 2505.22310) fine-tune unlearned models on the retain set alone:
forgotten *examples* come back in them, and not in retrained models, the more so the nearer a model is to the original
in weights and the lower the barrier of loss on the straight line between both. Here (our reading) it is a class, and
what goes on is FedAvg by the clients that are left, since in a federation training does go on. The forgotten row of the
head gets no sample of its class, so that a model is asked with the forgotten biases raised as far as a small cost in
retain accuracy allows, as in `relearning`; and its features are probed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fedunlearn.audits import linear_probe
from fedunlearn.audits.ausuc import area
from fedunlearn.audits.base import Audit, Evidence, FigureData, Findings, Reference, View, runnable
from fedunlearn.audits.continuing import Pace, average, rounds
from fedunlearn.audits.prototype_relearning import accuracies, highest_bias
from fedunlearn.models.base import Network
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import AtLeast, Count, Fraction, Whole

AT_ONCE = 512  # samples
ROUND, FORGET, AUSUC, PROBE, RETAIN = (
    "round",
    "forget accuracy, raised",
    "AUSUC",
    "probe forget accuracy",
    "retain accuracy",
)
AFTER = {FORGET: "dormant_accuracy", AUSUC: "dormant_ausuc", PROBE: "dormant_probe", RETAIN: "dormant_retain_accuracy"}
EXCESS, DISTANCE, BARRIER, CURVES = "dormancy", "original_distance", "original_barrier", "dormancy_curves"


@dataclass(frozen=True)
class DormancySettings:
    """How long the federation goes on, and what is asked after each round."""

    rounds: Whole = 0  # of FedAvg on retain data, such as 5; 0: it does not go on
    pace: Pace = field(default_factory=Pace)
    samples: Count = 1000  # training samples that biases and probe are fitted on, about; the same share of every class
    cost: Fraction = 0.01  # retain accuracy on these that raising the forgotten biases may cost
    points: Annotated[int, AtLeast(3)] = 16  # models on the straight line to the original


def measure(evidence: Evidence, reference: Reference, settings: DormancySettings) -> Findings:
    """What came back after the last round, in [0, 1]; `dormancy`; distance and barrier to the original; the curves.

    `dormancy`, -1 to 1: by how much the forget accuracy, biases raised, exceeds its mean over the retrained models in
    the round in which it exceeds it most; None without retrained models. Nothing unless asked for, and all None below
    class level. The models are left as they are.
    """
    if not settings.rounds:
        return {}
    if not reference.forget_classes:
        return dict.fromkeys(FINDINGS)
    found, *retrained = (curves(each, reference, settings) for each in (evidence, *reference.retrained))
    excess = np.array(found[FORGET]) - np.mean([each[FORGET] for each in retrained], axis=0) if retrained else None
    return {
        EXCESS: None if excess is None else float(excess[1:].max()),
        **{name: found[curve][-1] for curve, name in AFTER.items()},
        DISTANCE: distance(evidence.model, reference.original.model),
        BARRIER: barrier(evidence, reference, settings),
        CURVES: found,
    }


def curves(evidence: Evidence, reference: Reference, settings: DormancySettings) -> FigureData:
    """What is left after each round, from round 0 on; worked out once for each model."""
    key = ("dormancy", settings, reference.seed, reference.forget_classes)
    found: FigureData = evidence.notes.once(key, lambda: _curves(evidence, reference, settings))
    return found


def _curves(evidence: Evidence, reference: Reference, settings: DormancySettings) -> FigureData:
    model, known = runnable(evidence), _known(evidence, reference, settings)
    clients = [part[~evidence.train.forget[part]] for part in reference.parts]
    going = rounds(model, evidence.train, clients, settings.pace, reference.seed, reference.side_by_side)
    every = [_left(model, evidence, known, reference, settings)]
    every += [_left(each, evidence, known, reference, settings) for each in islice(going, settings.rounds)]
    return {ROUND: list(range(settings.rounds + 1)), **{name: [each[name] for each in every] for name in AFTER}}


def _left(
    model: Network, evidence: Evidence, known: np.ndarray, reference: Reference, settings: DormancySettings
) -> dict[str, float]:
    """What `model`, in evaluation mode, has of the forgotten classes, by the names of the curves."""
    train, test = (said_by(model, view, rows) for view, rows in ((evidence.train, known), (evidence.test, None)))
    forgotten = np.isin(np.arange(reference.classes), reference.forget_classes)
    least = accuracies(train.logits, train.labels, forgotten)[1] - settings.cost
    raised = test.logits + forgotten * highest_bias(train.logits, train.labels, forgotten, least)
    probed = linear_probe.measure(
        Evidence(model, train, test), reference, linear_probe.LinearProbeSettings(len(train.groups))
    )
    return {
        FORGET: accuracies(raised, test.labels, forgotten)[0],
        AUSUC: area(test, reference.forget_classes),
        PROBE: cast(float, probed["probe_forget_accuracy"]),
        RETAIN: accuracies(test.logits, test.labels, forgotten)[1],
    }


def _known(evidence: Evidence, reference: Reference, settings: DormancySettings) -> np.ndarray:
    """The training samples that biases and probe are fitted on, the same for every model and round."""
    stream = numpy_stream(reference.seed, "audit", "dormancy", "samples")
    return linear_probe.stratified(evidence.train.groups, settings.samples, stream)


@torch.no_grad()
def said_by(model: Network, view: View, rows: np.ndarray | None = None) -> View:
    """What a model says of the samples of a view (of those at `rows`)."""
    rows = np.arange(len(view.groups)) if rows is None else rows
    features = torch.cat([model.features(view.samples.at(part)) for part in _pieces(rows)])
    logits = model.head(features).cpu().numpy()
    right = (logits.argmax(axis=1) == view.labels[rows]).astype(np.float64)
    return View(
        features.cpu().numpy(), {"logits": logits}, view.labels[rows], view.groups[rows], view.forget[rows], right
    )


def distance(model: nn.Module, original: nn.Module) -> float:
    """The change of the encoder's weights from the original's over the length of these; the head has no part in it."""
    one, other = (dict(each.named_parameters()) for each in (model, original))
    names = [name for name in other if name.startswith("encoder.")]
    changed, whole = (
        float(sum(part.detach().double().cpu().square().sum() for part in parts)) ** 0.5
        for parts in ([one[name] - other[name] for name in names], [other[name] for name in names])
    )
    return changed / whole if whole else 0.0


def barrier(evidence: Evidence, reference: Reference, settings: DormancySettings) -> float:
    """How far the loss on retain test samples rises above the straight line between both ends, in nats, at least 0.

    Frankle et al. (arXiv 1912.05671), at `points` models from the original to this one, whose weights are mixed; the
    running statistics of batch normalisation are estimated again for each.
    """
    original, model = runnable(reference.original), runnable(evidence)
    ends = [copy.deepcopy(each.state_dict()) for each in (original, model)]  # `model` is each of the mixtures in turn
    known = _known(evidence, reference, settings)
    kept, retain = known[~evidence.train.forget[known]], np.flatnonzero(~evidence.test.forget)
    losses = []
    shares = np.linspace(0, 1, settings.points)
    for share in shares:
        model.load_state_dict(average(ends, [1 - share, share]))
        _settle(model, evidence.train, kept)
        losses.append(_loss(model, evidence.test, retain))
    straight = (1 - shares) * losses[0] + shares * losses[-1]
    return float(np.max(np.array(losses) - straight))


@torch.no_grad()
def _settle(model: Network, view: View, rows: np.ndarray) -> None:
    """Estimate the running statistics of batch normalisation again, on these samples."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    model.train()
    for part in _pieces(rows):
        model.features(view.samples.at(part))
    model.eval()


@torch.no_grad()
def _loss(model: Network, view: View, rows: np.ndarray) -> float:
    """Mean cross-entropy of the samples at `rows`, in nats."""
    logits = torch.cat([model(view.samples.at(part)) for part in _pieces(rows)])
    return float(F.cross_entropy(logits.double(), torch.as_tensor(view.labels[rows], device=logits.device)))


def _pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
    yield from np.array_split(rows, -(-len(rows) // AT_ONCE))


DECLARED = (
    Finding(
        EXCESS,
        "dormancy",
        "forget accuracy, biases raised, above that of retrained models while the federation goes on on retain data",
        "up",
        "-1 to 1",
    ),
    Finding(
        "dormant_accuracy",
        "dormant forget accuracy",
        "forget accuracy, biases raised, after the federation went on on retain data",
        "up",
        "0 to 1",
    ),
    Finding(
        "dormant_ausuc",
        "dormant AUSUC",
        "what the logits know after the federation went on on retain data",
        "up",
        "0 to 1",
    ),
    Finding(
        "dormant_probe",
        "dormant probe",
        "accuracy of a fresh head on the forgotten classes after the federation went on on retain data",
        "up",
        "0 to 1",
    ),
    Finding(
        "dormant_retain_accuracy",
        "dormant retain accuracy",
        "retain accuracy after the federation went on on retain data",
        scale="0 to 1",
    ),
    Finding(
        DISTANCE,
        "distance to the original",
        "how far the encoder's weights moved from the original's, in lengths of these; 0: only the head was edited",
        "down",
        "at least 0",
    ),
    Finding(
        BARRIER,
        "barrier to the original",
        "how far the loss on retain samples rises between the original's weights and the model's, in nats",
        "down",
        "at least 0",
    ),
    Finding(
        CURVES,
        "dormancy by round",
        "what is left of the forgotten class while the federation goes on on retain data",
        kind="figure",
        drawn="curves",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "dormancy": Audit(
        "dormancy",
        DormancySettings,
        measure,
        findings=DECLARED,
        about="does the class come back when training goes on without it? Off unless there are rounds",
    )
}
