"""Mixup: every image is blended with another of its batch: Zhang et al., ICLR 2018, arXiv 1710.09412.

x' = λ x_i + (1 − λ) x_j, and the loss is λ of that for y_i and 1 − λ of that for y_j, with one λ ~ Beta(α, α) for a
batch, as in the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedunlearn.augment.base import Augmentation, by_image
from fedunlearn.settings.schema import Positive
from fedunlearn.tasks.base import CLASSIFICATION


@dataclass(frozen=True)
class Mixup:
    """Settings."""

    strength: Positive = 1.0  # α: the larger, the more often both images have about the same share


def draw(settings: Mixup, count: int, stream: torch.Generator) -> Tensor:
    """λ, the same for all images of the batch: [count, 1]."""
    return beta(settings.strength, stream).expand(count, 1)


def beta(alpha: float, stream: torch.Generator) -> Tensor:
    """A number from Beta(α, α), float32 [1]; PyTorch has none that takes a generator."""
    seed = int(torch.randint(2**62, (1,), generator=stream))
    return torch.tensor([np.random.default_rng(seed).beta(alpha, alpha)], dtype=torch.float32)


def mix(images: Tensor, others: Tensor, numbers: Tensor, settings: Mixup) -> tuple[Tensor, Tensor]:
    """The blend, and λ."""
    share = numbers[:, 0]
    return by_image(share) * images + by_image(1 - share) * others, share


AUGMENTATIONS = {
    "mixup": Augmentation(
        "mixup", Mixup, draw, mix=mix, tasks=CLASSIFICATION, about="every image blended with another of its batch"
    )
}
