"""Any classifier of torchvision by name, without its last layer: `model=torchvision model.arch=mobilenet_v3_small`.

Dropout and stochastic depth are left out: they would draw from a generator that all clients of a process share, and
the same configuration would no longer give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal

import torch
from torch import Tensor, nn

from fedunlearn.errors import RequestError, unknown
from fedunlearn.models.base import ModelFamily, image_shape

SEVERAL_HEADS = {"googlenet", "inception_v3"}  # while they train, so that they have no loss of the tasks here
COLOURS = 3  # channels that all of these networks take


@dataclass(frozen=True)
class TorchvisionSettings:
    """Which network, and what it starts from."""

    arch: str = "mobilenet_v3_small"  # a classifier's name in torchvision, such as efficientnet_b0 or vgg16
    # of torchvision, downloaded once; they may have seen what is to be forgotten
    weights: Literal["none", "imagenet"] = "none"
    frozen: bool = False  # train the head alone, on features that stay as they are


class Frozen(nn.Module):
    """A network without gradients, whose normalisation uses running statistics and leaves them as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        """The network stays in evaluation mode."""
        self.training = mode
        return self

    def forward(self, images: Tensor) -> Tensor:
        """What the network makes of the images."""
        features: Tensor = self.network(images)
        return features


class Coloured(nn.Module):
    """A network for colour images, also for grey ones: their one channel is shown three times."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images [n, 1 or 3, H, W] to features [n, d]."""
        features: Tensor = self.network(images.expand(-1, COLOURS, -1, -1))
        return features


def encoder(settings: TorchvisionSettings, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Images [n, C, H, W], C 1 or 3, to the input of the network's last linear layer, [n, d].

    Raises RequestError for names that torchvision does not have, networks that do not end in a linear layer, images
    that the network does not take, and weights that cannot be fetched.
    """
    channels, height, width = image_shape(f"model {settings.arch}", shape, 1)
    if channels not in (1, COLOURS):
        raise RequestError(f"model {settings.arch} takes grey or colour images, not {channels} channels")
    network = _network(settings)
    features = _without_head(settings.arch, network)
    _without_chance(network)
    coloured = Coloured(Frozen(network) if settings.frozen else network)
    try:
        with torch.no_grad():
            found = coloured.eval()(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise RequestError(
            f"model {settings.arch} does not take images of {height}x{width} pixels: {reason}"
        ) from error
    if found.shape != (2, features):
        raise RequestError(f"model {settings.arch} has no features [n, d] in front of a last linear layer")
    return coloured.train(), features


def _without_chance(network: nn.Module) -> None:
    from torchvision.ops import StochasticDepth

    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d, StochasticDepth)):
            module.p = 0.0


def _network(settings: TorchvisionSettings) -> nn.Module:
    from torchvision import models  # here, because it takes a second: only those who use it shall wait

    known = set(models.list_models(module=models)) - SEVERAL_HEADS
    if settings.arch not in known:
        raise unknown("network in torchvision", settings.arch, known)
    network: nn.Module = models.get_model(settings.arch, weights=None)
    if settings.weights == "imagenet":
        published = models.get_model_weights(settings.arch).DEFAULT  # type: ignore[attr-defined]
        try:
            network.load_state_dict(published.get_state_dict(check_hash=True, weights_only=True))
        except (OSError, RuntimeError, HTTPException) as error:
            reason = " ".join(str(error).split())
            raise RequestError(
                f"the weights of {settings.arch} cannot be had from {published.url}: {reason}"
            ) from error
    return network


def _without_head(arch: str, network: nn.Module) -> int:
    """Take the last linear layer away; how many features it had got. Raises RequestError."""
    last = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not last:
        raise RequestError(f"model {arch} does not end in a linear layer, so that it has no features to look at")
    name, head = last[-1]
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return head.in_features


MODELS = {
    "torchvision": ModelFamily(
        "torchvision", TorchvisionSettings, encoder, about="any classifier of torchvision by name, without dropout"
    )
}
