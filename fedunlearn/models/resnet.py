"""ResNet-18 and ResNet-50 (He et al., "Deep residual learning for image recognition", CVPR 2016) from torchvision.

Never with pretrained weights: they would have seen what is to be forgotten. Small images get the stem that the paper
uses for CIFAR-10 (one 3x3 convolution, no pooling); the stem for ImageNet would leave a 1x1 map of a 32x32 image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from fedunlearn.models.base import ModelFamily, image_shape
from fedunlearn.models.norm import group_norm

SMALL_IMAGE = 64  # pixels of the longer side, up to which `auto` chooses the stem for CIFAR
SMALLEST = {"cifar": 8, "imagenet": 32}  # pixels; the stem and the four stages leave 1x1


@dataclass(frozen=True)
class ResNetSettings:
    """The two things that depend on the data and on the federation."""

    # with running statistics, or without, which suits clients with few or one-sided data
    norm: Literal["batch", "group"] = "batch"
    # first layers 3x3 at full size (cifar) or 7x7 at a quarter of the side (imagenet); auto: cifar up to 64 pixels
    stem: Literal["auto", "cifar", "imagenet"] = "auto"


def encoder(arch: str, settings: ResNetSettings, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Images [n, C, H, W] to globally averaged features [n, d]; d is 512 for ResNet-18 and 2048 for ResNet-50."""
    small = max(shape[1:], default=0) <= SMALL_IMAGE
    stem = settings.stem if settings.stem != "auto" else "cifar" if small else "imagenet"
    channels, _, _ = image_shape(f"a resnet with the {stem} stem", shape, SMALLEST[stem])
    from torchvision import models  # here, because it takes a second: only those who use it shall wait

    net: Any = models.get_model(
        arch, weights=None, norm_layer=nn.BatchNorm2d if settings.norm == "batch" else group_norm
    )
    feature_dim: int = net.fc.in_features
    net.fc = nn.Identity()
    net.conv1 = _first_convolution(channels, stem)
    if stem == "cifar":
        net.maxpool = nn.Identity()
    return net, feature_dim


def _first_convolution(channels: int, stem: str) -> nn.Conv2d:
    """The stem's convolution, initialised as torchvision initialises all convolutions of a ResNet."""
    size, stride = (3, 1) if stem == "cifar" else (7, 2)
    convolution = nn.Conv2d(channels, 64, kernel_size=size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


MODELS = {
    "resnet18": ModelFamily(
        "resnet18", ResNetSettings, partial(encoder, "resnet18"), about="never pretrained, with 512 features"
    ),
    "resnet50": ModelFamily(
        "resnet50", ResNetSettings, partial(encoder, "resnet50"), about="never pretrained, with 2048 features"
    ),
}
