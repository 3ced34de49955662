"""Mirrored and shifted images: the usual augmentation of CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2).

There, images are padded with four black pixels on each side and cut to their old size at random, which is a shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.augment.base import Augmentation, uniform
from fedunlearn.settings.schema import Fraction


@dataclass(frozen=True)
class FlipCrop:
    """Settings."""

    strength: Fraction = 0.125  # largest shift, as a share of height and width: 4 of 32 pixels
    flip: Fraction = 0.5  # probability that left and right change places; 0 for characters


def change(images: Tensor, numbers: Tensor, settings: FlipCrop) -> Tensor:
    """Every image mirrored or not, then moved by whole pixels; what comes in from outside is black."""
    height, width = images.shape[2:]
    rows = sources(height, shift(numbers[:, 0], settings.strength, height))
    columns = sources(width, shift(numbers[:, 1], settings.strength, width))
    inside = seen(rows, height)[:, :, None, None] & seen(columns, width)[:, None, :, None]
    columns = torch.where(numbers[:, 2:] < settings.flip, width - 1 - columns, columns)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    found = images[each, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    return (found * inside).permute(0, 3, 1, 2)


def shift(numbers: Tensor, strength: float, size: int) -> Tensor:
    """Whole pixels from -m to m, m = strength · size rounded, all as likely: int64 [n]."""
    most = round(strength * size)
    return (numbers * (2 * most + 1)).long().clamp_max(2 * most) - most


def sources(size: int, moved: Tensor) -> Tensor:
    """Where each of `size` pixels comes from, int64 [n, size]; outside of the image for some."""
    return torch.arange(size, device=moved.device) + moved[:, None]


def seen(positions: Tensor, size: int) -> Tensor:
    """Which positions are inside of an image."""
    return (positions >= 0) & (positions < size)


AUGMENTATIONS = {
    "flip_crop": Augmentation("flip_crop", FlipCrop, uniform(3), change, about="mirrored and shifted images")
}
