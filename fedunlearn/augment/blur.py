"""Gaussian blur of a random width, as in Chen et al., "SimCLR", ICML 2020, arXiv 2002.05709, appendix A."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from fedunlearn.augment.base import Augmentation, by_image, uniform
from fedunlearn.settings.schema import Above, AtMost, Fraction

SHARP = 1e-3  # a standard deviation, in pixels, at which the neighbours of a pixel have no weight
REACH = 3  # standard deviations that the kernel reaches


@dataclass(frozen=True)
class Blur:
    """Settings."""

    strength: Annotated[float, Above(0), AtMost(10)] = 1.0  # largest standard deviation, in pixels
    probability: Fraction = 0.5  # that an image is blurred


def change(images: Tensor, numbers: Tensor, settings: Blur) -> Tensor:
    """Every image blurred with a standard deviation uniform between 0 and strength, or sharp. Edges are repeated."""
    widths = torch.where(numbers[:, 0] < settings.probability, numbers[:, 1] * settings.strength, 0.0)
    reach = math.ceil(REACH * settings.strength)
    weights = kernel(widths, reach)
    down = F.pad(images, (0, 0, reach, reach), mode="replicate")
    images = _summed(weights, [down.narrow(2, step, images.shape[2]) for step in range(2 * reach + 1)])
    across = F.pad(images, (reach, reach, 0, 0), mode="replicate")
    return _summed(weights, [across.narrow(3, step, images.shape[3]) for step in range(2 * reach + 1)])


def kernel(widths: Tensor, reach: int) -> Tensor:
    """Weights of the pixels from -reach to reach, [n, 2 reach + 1], which add up to 1; `widths`: pixels, [n]."""
    steps = torch.arange(-reach, reach + 1, device=widths.device)
    weights = (-0.5 * (steps / widths.clamp_min(SHARP)[:, None]).square()).exp()
    return weights / weights.sum(1, keepdim=True)


def _summed(weights: Tensor, moved: list[Tensor]) -> Tensor:
    total = torch.zeros_like(moved[0])
    for column, images in zip(weights.unbind(1), moved, strict=True):
        total = total.addcmul_(by_image(column), images)
    return total


AUGMENTATIONS = {"blur": Augmentation("blur", Blur, uniform(2), change, about="blurred images")}
