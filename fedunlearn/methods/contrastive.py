"""Contrastive losses on features. Rows whose label is −1 are not there; nothing depends on the data's values in shape.

All are mean losses over the rows that are there, written without data-dependent indexing so that they can be
vectorised over many clients at once. Features come normalised (`unit`), once for all losses of a batch. On small
batches a loss costs what its calls of PyTorch cost, so there are few: what a mask leaves out is pushed away by the
product's own addend, and sums over positives are cross-entropies with soft targets.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = -1e9  # added to a similarity: no softmax notices what is left, and gradients stay finite


def unit(features: Tensor) -> Tensor:
    """Features [b, d] at unit length; zero stays zero."""
    return F.normalize(features, dim=1)


def supervised_contrastive(z: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2, inside one batch.

    Features z [b, d] at unit length, targets [b]. The mean runs over the anchors that have at least one positive in
    the batch; without any, the loss is 0.
    """
    excluded = torch.eye(len(targets), dtype=torch.bool, device=z.device) | (targets < 0)  # from every anchor's view
    positives = ((targets[:, None] == targets) > excluded).to(z.dtype)
    count = positives.sum(1, keepdim=True)
    shares = positives / (count * (count > 0).sum()).clamp_min(1)
    similarity = torch.addmm(excluded.to(z.dtype) * FAR, z, z.T, alpha=1 / temperature)
    return F.cross_entropy(similarity, shares, reduction="sum")


def prototype_contrastive(z: Tensor, targets: Tensor, prototypes: Tensor, known: Tensor, temperature: float) -> Tensor:
    """InfoNCE of each row of z [b, d] against the classes' prototypes [classes, d]; `known` [classes]: which exist.

    Rows whose class has no prototype do not count; without any row, the loss is 0.
    """
    similarity = torch.addmm((~known).to(z.dtype) * FAR, z, prototypes.T, alpha=1 / temperature)
    return _mean(F.cross_entropy(similarity, targets.clamp_min(0), reduction="none"), targets, known)


def prototype_distance(z: Tensor, targets: Tensor, prototypes: Tensor, known: Tensor) -> Tensor:
    """Mean squared distance of each row of z [b, d] to its class's prototype: attraction without negatives."""
    return _mean((z - prototypes[targets.clamp_min(0)]).square().sum(1), targets, known)


def _mean(per_row: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Over the rows that are there and whose class has a prototype; `per_row` [b] must be finite for the others."""
    usable = (known[targets.clamp_min(0)] > (targets < 0)).to(per_row.dtype)
    return torch.dot(per_row, usable) / usable.sum().clamp_min(1)
