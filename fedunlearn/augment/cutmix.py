"""CutMix: a rectangle of every image is replaced by that of another: Yun et al., ICCV 2019, arXiv 1905.04899.

One rectangle for a batch, as in the authors' code: its centre is uniform, its sides are √(1 − λ) of the image's, with
λ ~ Beta(α, α), and what sticks out is cut off. The loss weighs both targets by the areas that are left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.augment.base import Augmentation
from fedunlearn.augment.mixup import beta
from fedunlearn.settings.schema import Positive
from fedunlearn.tasks.base import CLASSIFICATION


@dataclass(frozen=True)
class CutMix:
    """Settings."""

    strength: Positive = 1.0  # α: the larger, the more often the rectangle has about half of the image's area


def draw(settings: CutMix, count: int, stream: torch.Generator) -> Tensor:
    """λ, and the centre of the rectangle as shares of height and width, the same for all images: [count, 3]."""
    return torch.cat([beta(settings.strength, stream), torch.rand(2, generator=stream)]).expand(count, 3)


def mix(images: Tensor, others: Tensor, numbers: Tensor, settings: CutMix) -> tuple[Tensor, Tensor]:
    """The patched images, and the share of their pixels that are their own."""
    height, width = images.shape[2:]
    sides = (1 - numbers[:, 0]).sqrt()
    down, across = (covered(sides, numbers[:, i], size) for i, size in ((1, height), (2, width)))
    share = 1 - down.sum(1) * across.sum(1) / (height * width)
    return torch.where(down[:, None, :, None] & across[:, None, None, :], others, images), share


def covered(sides: Tensor, centres: Tensor, size: int) -> Tensor:
    """Which of `size` pixels the rectangle covers: bool [n, size]. Its side is rounded down to whole pixels."""
    length, centre = (sides * size).floor(), (centres * size).floor()
    pixels = torch.arange(size, device=sides.device)
    start = centre - (length / 2).floor()
    return (pixels >= start[:, None]) & (pixels < (start + length)[:, None])


AUGMENTATIONS = {
    "cutmix": Augmentation(
        "cutmix", CutMix, draw, mix=mix, tasks=CLASSIFICATION, about="a rectangle of each comes from another image"
    )
}
