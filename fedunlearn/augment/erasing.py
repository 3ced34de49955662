"""A rectangle of the image is lost: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, arXiv 1708.04896.

Its area, aspect ratio and place are random, as there, the ratio uniform in its logarithm, as in torchvision. A
rectangle that is too long for the image is cut to it, where the paper draws again, and is filled with the image's mean
colour, where the paper takes random values or the data set's mean (our readings).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.augment.base import Augmentation, between, uniform
from fedunlearn.settings.schema import Fraction, Share

SMALLEST = 0.02  # s_l: share of the image
RATIO = 10 / 3  # 1 / r_1: aspect ratios are between r_1 and 1 / r_1


@dataclass(frozen=True)
class Erasing:
    """Settings."""

    strength: Share = 0.33  # s_h: largest share of the image that is lost
    probability: Fraction = 0.5  # p: that an image loses anything


def change(images: Tensor, numbers: Tensor, settings: Erasing) -> Tensor:
    """Every image with a rectangle of its own, or whole."""
    height, width = images.shape[2:]
    area = between(numbers[:, 1], min(SMALLEST, settings.strength), settings.strength) * (height * width)
    stretch = between(numbers[:, 2], -math.log(RATIO) / 2, math.log(RATIO) / 2).exp()
    down = covered(area.sqrt() * stretch, numbers[:, 3], height)
    across = covered(area.sqrt() / stretch, numbers[:, 4], width)
    lost = down[:, None, :, None] & across[:, None, None, :] & (numbers[:, :1] < settings.probability)[:, :, None, None]
    return torch.where(lost, images.mean((2, 3), keepdim=True), images)


def covered(length: Tensor, place: Tensor, size: int) -> Tensor:
    """Which of `size` pixels a stretch of that length covers, rounded, at a random place: bool [n, size]."""
    whole = length.round().clamp(1, size)
    start = (place * (size - whole + 1)).floor().minimum(size - whole)
    pixels = torch.arange(size, device=length.device)
    return (pixels >= start[:, None]) & (pixels < (start + whole)[:, None])


AUGMENTATIONS = {"erasing": Augmentation("erasing", Erasing, uniform(5), change, about="a rectangle of each is lost")}
