"""Contrastive losses on features. Rows whose label is −1 are not there; nothing depends on the data's values in shape.

All are mean losses over the rows that are there, written without data-dependent indexing so that they can be
vectorised over many clients at once. Features come normalised (`unit`), once for all losses of a batch. On small
batches a loss costs what its calls of PyTorch cost, so there are few: what a mask leaves out is pushed away by the
product's own addend, and sums over positives are cross-entropies with soft targets. Where it is known that all rows
are there (`whole`), nothing looks for those that are not.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = -1e9  # added to a similarity: no softmax notices what is left, and gradients stay finite
SHORTEST = 1e-12  # length that features are divided by at least, as in torch.nn.functional.normalize


def unit(features: Tensor) -> Tensor:
    """Features [b, d] at unit length; zero stays zero."""
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / lengths.clamp_min(SHORTEST)


def supervised_contrastive(z: Tensor, targets: Tensor, temperature: float, whole: bool = False) -> Tensor:
    """Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2, inside one batch.

    Features z [b, d] at unit length, targets [b]. The mean runs over the anchors that have at least one positive in
    the batch; without any, the loss is 0.
    """
    others, far = _off_diagonal(len(targets), z.dtype, z.device) if whole else _views(z, targets)
    positives = (targets.unsqueeze(1) == targets) * others
    count = positives.sum(1, keepdim=True)
    shares = positives / (count * (count > 0).sum()).clamp_min(1)
    similarity = torch.addmm(far, z, z.T, alpha=1 / temperature)
    return F.cross_entropy(similarity, shares, reduction="sum")


def _views(z: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What every anchor sees of every row, [b, b]: 1 if it is another one that is there, else 0; and 0, else FAR."""
    excluded = torch.eye(len(targets), dtype=torch.bool, device=z.device) | (targets < 0)
    return (~excluded).to(z.dtype), excluded.to(z.dtype) * FAR


@lru_cache(maxsize=4)
def _off_diagonal(count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """`_views` of a batch of so many rows that are all there; only to be read."""
    alike = torch.eye(count, dtype=dtype, device=device)
    return 1 - alike, alike * FAR


def prototype_contrastive(
    z: Tensor, targets: Tensor, prototypes: Tensor, known: Tensor, temperature: float, whole: bool = False
) -> Tensor:
    """InfoNCE of each row of z [b, d] against the classes' prototypes [classes, d]; `known` [classes]: which exist.

    Rows whose class has no prototype do not count; without any row, the loss is 0.
    """
    own, usable = _classes(targets, known, whole)
    far = torch.where(known, 0.0, FAR).to(z.dtype)
    similarity = torch.addmm(far, z, prototypes.T, alpha=1 / temperature)
    return _mean(F.cross_entropy(similarity, own, reduction="none"), usable)


def prototype_distance(z: Tensor, targets: Tensor, prototypes: Tensor, known: Tensor, whole: bool = False) -> Tensor:
    """Mean squared distance of each row of z [b, d] to its class's prototype: attraction without negatives."""
    own, usable = _classes(targets, known, whole)
    return _mean((z - prototypes[own]).square().sum(1), usable)


def _classes(targets: Tensor, known: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
    """The class of each row [b] (any, if it is not there), and whether it is there and its class has a prototype."""
    if whole:
        return targets, known[targets]
    own = targets.clamp_min(0)
    return own, known[own] > (targets < 0)


def _mean(per_row: Tensor, usable: Tensor) -> Tensor:
    """Over the usable rows; `per_row` [b] must be finite for the others."""
    weights = usable.to(per_row.dtype)
    return torch.dot(per_row, weights) / weights.sum().clamp_min(1)
