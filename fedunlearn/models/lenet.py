"""LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998) as used today.

With ReLU and average pooling instead of the original's squashing and trainable pooling, all connections between the
convolutions, and a linear head instead of radial basis functions. Images smaller than the 32x32 it was drawn for are
padded by two pixels on each side, which gives 28x28 and 32x32 images the same 400 inputs to the first dense layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fedunlearn.models.base import ModelFamily, image_shape

DRAWN_FOR = 32  # pixels
SMALLEST = 12  # pixels; with its padding, this leaves 1x1 after the second pooling
FEATURE_DIM = 84


@dataclass(frozen=True)
class LenetSettings:
    """LeNet-5 has one size: 61,706 parameters for ten classes of 28x28 grey images."""


def encoder(settings: LenetSettings, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Images [n, C, H, W] of any size from 12x12 to features [n, 84], not negative (they come from a ReLU)."""
    channels, height, width = image_shape("model lenet", shape, SMALLEST)
    padding = 2 if min(height, width) < DRAWN_FOR else 0
    layers = [
        *_block(channels, 6, padding),
        *_block(6, 16, padding=0),
        nn.Flatten(),
        nn.Linear(16 * _left(height, padding) * _left(width, padding), 120),
        nn.ReLU(),
        nn.Linear(120, FEATURE_DIM),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers), FEATURE_DIM


def _block(inputs: int, outputs: int, padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel_size=5, padding=padding), nn.ReLU(), nn.AvgPool2d(2)]


def _left(side: int, padding: int) -> int:
    """What the two blocks leave of an image side of that many pixels."""
    return ((side + 2 * padding - 4) // 2 - 4) // 2


MODELS = {
    "lenet": ModelFamily(
        "lenet",
        LenetSettings,
        encoder,
        about="LeNet-5 with ReLU and average pooling, for images of 12x12 and more; it has one size",
        channels_last=True,
    )
}
