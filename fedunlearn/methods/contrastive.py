"""Contrastive losses on features. Rows whose label is −1 are not there; nothing depends on the data's values in shape.

Both are mean losses over the rows that are there, written without data-dependent indexing so that they can be
vectorised over many clients at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = -1e9  # a similarity that no softmax notices, finite so that gradients stay finite


def supervised_contrastive(features: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2, inside one batch.

    features [b, d] are normalised to unit length, targets [b]. The mean runs over the anchors that have at least one
    positive in the batch; without any, the loss is 0.
    """
    z = F.normalize(features, dim=1)
    there = targets >= 0
    others = ~torch.eye(len(targets), dtype=torch.bool, device=targets.device) & there[None, :]
    positives = others & (targets[:, None] == targets[None, :]) & there[:, None]
    similarity = (z @ z.T / temperature).masked_fill(~others, FAR)
    log_share = similarity - similarity.logsumexp(1, keepdim=True)
    count = positives.sum(1)
    per_anchor = -torch.where(positives, log_share, 0.0).sum(1) / count.clamp_min(1)
    return per_anchor.sum() / (count > 0).sum().clamp_min(1)


def prototype_contrastive(
    features: Tensor, targets: Tensor, prototypes: Tensor, known: Tensor, temperature: float
) -> Tensor:
    """InfoNCE of each row against the classes' prototypes [classes, d]; `known` [classes] says which exist.

    Rows whose class has no prototype do not count; without any row, the loss is 0.
    """
    z = F.normalize(features, dim=1)
    similarity = (z @ prototypes.T / temperature).masked_fill(~known[None, :], FAR)
    usable = (targets >= 0) & known[targets.clamp_min(0)]
    per_row = F.cross_entropy(similarity, targets.clamp_min(0), reduction="none")
    return torch.where(usable, per_row, 0.0).sum() / usable.sum().clamp_min(1)


def prototype_distance(features: Tensor, targets: Tensor, prototypes: Tensor, known: Tensor) -> Tensor:
    """Mean squared distance of each normalised row to its class's prototype: attraction without negatives."""
    z = F.normalize(features, dim=1)
    own = targets.clamp_min(0)
    usable = (targets >= 0) & known[own]
    per_row = (z - prototypes[own]).square().sum(1)
    return torch.where(usable, per_row, 0.0).sum() / usable.sum().clamp_min(1)
