"""The client side of a method: which labels to learn, what to minimise, what to report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.models.base import Classifier

Tensors = dict[str, Tensor]

# Given the received model, the client's data and what the server shared, the label that each sample is trained on:
# int64 [n], where −1 leaves a sample out, or float [n, classes] of soft labels, where a row of zeros leaves it out.
Targets = Callable[[Classifier, ClientData, Tensors], Tensor]
# Mean loss of a batch from features [b, d], logits [b, classes] and targets [b] (or [b, classes]), scalar. Must be
# pure, and rows that are left out (−1, or zeros) must not influence it: that is how ragged batches are padded.
Loss = Callable[[Tensor, Tensor, Tensor, Tensors], Tensor]
# Tensors that the server adds up over the clients of the round, computed on the trained model.
Uploads = Callable[[Classifier, ClientData, Tensors], Tensors]


def no_uploads(model: Classifier, client: ClientData, shared: Tensors) -> Tensors:
    """Nothing but the model travels to the server."""
    return {}


# What a client trains on instead of its own data, such as distilled images; `client.memory` may hold it between rounds.
Substitute = Callable[[Classifier, ClientData], ClientData]


# New values of the parameters after an optimiser step, given those of the received model and what was shared:
# a projection, or entries that must not move. Pure; parameters by name.
Constrain = Callable[[Tensors, Tensors, Tensors], Tensors]


@dataclass(frozen=True)
class Objective:
    """Pure functions, so that one definition runs in the reference loop, stacked, and on another machine.

    `clip`: largest norm of a batch's gradient (all parameters together), or None. `substitute`: the data that
    targets and batches are made of, or None for the client's own; uploads always see its own.
    """

    targets: Targets
    loss: Loss
    uploads: Uploads = no_uploads
    constrain: Constrain | None = None
    clip: float | None = None
    substitute: Substitute | None = None


def true_labels(model: Classifier, client: ClientData, shared: Tensors) -> Tensor:
    """Every sample with its own label."""
    return client.labels


def retain_labels(model: Classifier, client: ClientData, shared: Tensors) -> Tensor:
    """Retain samples with their own label; forget samples are left out."""
    return client.labels.masked_fill(client.forget, -1)


def forget_labels(model: Classifier, client: ClientData, shared: Tensors) -> Tensor:
    """Forget samples with their own label; retain samples are left out."""
    return client.labels.masked_fill(~client.forget, -1)


def cross_entropy(features: Tensor, logits: Tensor, targets: Tensor, shared: Tensors) -> Tensor:
    """Mean cross-entropy over the rows that are not left out."""
    return F.cross_entropy(logits, targets, ignore_index=-1)


def soft_cross_entropy(features: Tensor, logits: Tensor, targets: Tensor, shared: Tensors) -> Tensor:
    """−Σ_c q_c log p_c for soft labels q [b, classes], averaged over the rows that are not left out."""
    return -(targets * logits.log_softmax(1)).sum() / (targets.sum(1) > 0).sum().clamp_min(1)


def present(targets: Tensor) -> Tensor:
    """Bool [n]: the samples that are not left out."""
    return targets >= 0 if targets.dim() == 1 else targets.sum(1) > 0
