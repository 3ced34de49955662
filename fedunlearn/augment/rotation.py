"""Images turned about their centre by a random angle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from fedunlearn.augment.base import Augmentation, between, uniform
from fedunlearn.settings.schema import AtLeast, AtMost


@dataclass(frozen=True)
class Rotation:
    """Settings."""

    strength: Annotated[float, AtLeast(0), AtMost(180)] = 15.0  # largest angle in degrees, either way


def change(images: Tensor, numbers: Tensor, settings: Rotation) -> Tensor:
    """Every image turned by an angle uniform in ± strength, bilinear; what comes in from outside is black."""
    angles = between(numbers[:, 0], -settings.strength, settings.strength) * (math.pi / 180)
    return F.grid_sample(images, grid(angles, *images.shape[2:]), padding_mode="zeros", align_corners=False)


def grid(angles: Tensor, height: int, width: int) -> Tensor:
    """Where every pixel comes from, [n, height, width, 2] as x and y, each from -1 to 1 between the outer edges."""
    y = centres(height, angles.device)[:, None] * height
    x = centres(width, angles.device)[None, :] * width
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return torch.stack([(cos * x - sin * y) / width, (sin * x + cos * y) / height], dim=-1)


def centres(size: int, device: torch.device) -> Tensor:
    """Of `size` pixels between -1 and 1."""
    return (2 * torch.arange(size, device=device) + 1) / size - 1


AUGMENTATIONS = {"rotation": Augmentation("rotation", Rotation, uniform(1), change, about="turned images")}
