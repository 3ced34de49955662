"""A small convolutional network: two blocks of convolution and pooling, one hidden layer. Quick on a CPU.

The shape of the two-convolution network of McMahan et al. (AISTATS 2017), about thirty times smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedunlearn.models.base import ModelFamily, image_shape
from fedunlearn.models.norm import group_norm
from fedunlearn.settings.schema import Count

SMALLEST = 8  # pixels; two poolings leave 2x2


@dataclass(frozen=True)
class CnnSettings:
    """Size of the network: about 60 thousand parameters for 28x28 grey images."""

    width: Count = 12  # channels of the first convolution; the second has twice as many
    feature_dim: Count = 48  # units of the hidden layer, which are the features that audits look into
    norm: Literal["none", "batch", "group"] = "none"  # after each convolution


def encoder(settings: CnnSettings, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Images [n, C, H, W] of any size from 8x8 to features [n, feature_dim], not negative (they come from a ReLU)."""
    channels, height, width = image_shape("model cnn", shape, SMALLEST)
    maps = 2 * settings.width
    layers = [
        *_block(channels, settings.width, settings.norm),
        *_block(settings.width, maps, settings.norm),
        nn.Flatten(),
        nn.Linear(maps * (height // 4) * (width // 4), settings.feature_dim),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers), settings.feature_dim


def _block(inputs: int, outputs: int, norm: str) -> list[nn.Module]:
    """Convolution, normalisation, ReLU and a pooling that halves height and width."""
    norms: dict[str, list[nn.Module]] = {
        "none": [],
        "batch": [nn.BatchNorm2d(outputs)],
        "group": [group_norm(outputs)],
    }
    return [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), *norms[norm], nn.ReLU(), Halving()]


class Halving(nn.Module):
    """The largest of every 2x2 pixels; a last odd row or column is dropped."""

    def forward(self, maps: Tensor) -> Tensor:
        """[n, C, H, W] to [n, C, H // 2, W // 2]."""
        if torch.is_grad_enabled() or maps.is_cuda:
            return F.max_pool2d(maps, 2)
        # The same numbers without a note of where they were, which on a CPU takes most of the time.
        height, width = maps.shape[-2] // 2 * 2, maps.shape[-1] // 2 * 2
        rows = torch.maximum(maps[..., 0:height:2, :width], maps[..., 1:height:2, :width])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


MODELS = {
    "cnn": ModelFamily(
        "cnn",
        CnnSettings,
        encoder,
        about="two blocks of convolution and pooling, one hidden layer: quick on a CPU",
        channels_last=True,
    )
}
