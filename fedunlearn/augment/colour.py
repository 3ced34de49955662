"""Brightness, contrast and saturation, each changed by a random factor, in that order (our choice).

As in torchvision's ColorJitter, without its change of hue; grey images have no saturation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.augment.base import Augmentation, between, by_image, uniform
from fedunlearn.settings.schema import Fraction

LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue in grey, as in torchvision


@dataclass(frozen=True)
class Colour:
    """Settings."""

    strength: Fraction = 0.4  # s: factors are uniform between 1 - s and 1 + s


def change(images: Tensor, numbers: Tensor, settings: Colour) -> Tensor:
    """Every image by factors of its own."""
    brightness, contrast, saturation = between(numbers, 1 - settings.strength, 1 + settings.strength).unbind(1)
    images = blended(images, torch.zeros_like(images[:, :1]), brightness)
    images = blended(images, grey(images).mean((1, 2, 3), keepdim=True), contrast)
    return blended(images, grey(images), saturation)


def blended(images: Tensor, towards: Tensor, factors: Tensor) -> Tensor:
    """factor · image + (1 − factor) · towards, within [0, 1]."""
    share = by_image(factors)
    return (share * images + (1 - share) * towards).clamp(0, 1)


def grey(images: Tensor) -> Tensor:
    """[n, 1, H, W]: the luma of three channels, the mean of any other number."""
    if images.shape[1] != len(LUMA):
        return images.mean(1, keepdim=True)
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


AUGMENTATIONS = {
    "colour": Augmentation("colour", Colour, uniform(3), change, about="other brightness, contrast and saturation")
}
