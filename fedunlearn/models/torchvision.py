"""Any classifier of torchvision by name, without its last layer: `model=torchvision model.arch=mobilenet_v3_small`.

Dropout and stochastic depth are left out: they would draw from a generator that all clients of a process share, and
the same configuration would no longer give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn

from fedunlearn.errors import RequestError, unknown
from fedunlearn.models import given
from fedunlearn.models.base import ModelFamily, image_shape

SEVERAL_HEADS = {"googlenet", "inception_v3"}  # while they train, so that they have no loss of the tasks here
COLOURS = 3  # channels that all of these networks take
NONE, IMAGENET = "none", "imagenet"
COUNTER = "num_batches_tracked"  # of a normalisation; older files lack it, and nothing here depends on it


@dataclass(frozen=True)
class TorchvisionSettings:
    """Which network, and what it starts from."""

    arch: str = "mobilenet_v3_small"  # a classifier's name in torchvision, such as efficientnet_b0 or vgg16
    # none | imagenet (of torchvision, downloaded once) | FILE.safetensors. They may have seen what is to be forgotten
    weights: str = NONE
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
    that the network does not take, and weights that cannot be fetched or do not fit.
    """
    channels, height, width = image_shape(f"model {settings.arch}", shape, 1)
    if channels not in (1, COLOURS):
        raise RequestError(f"model {settings.arch} takes grey or colour images, not {channels} channels")
    network = _network(settings)
    head, features = _without_head(settings.arch, network)
    if file := saved_in(settings):
        network.load_state_dict(_saved(file, settings, head, network.state_dict()))
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
    if settings.weights == IMAGENET:
        published = models.get_model_weights(settings.arch).DEFAULT  # type: ignore[attr-defined]
        try:
            network.load_state_dict(published.get_state_dict(check_hash=True, weights_only=True))
        except (OSError, RuntimeError, HTTPException) as error:
            reason = " ".join(str(error).split())
            raise RequestError(
                f"the weights of {settings.arch} cannot be had from {published.url}: {reason}"
            ) from error
    return network


def saved_in(settings: TorchvisionSettings) -> Path | None:
    """The file that is asked for, if weights are to come from one."""
    return None if settings.weights in (NONE, IMAGENET) else Path(settings.weights).expanduser()


def _saved(file: Path, settings: TorchvisionSettings, head: str, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the file holds of the network. A last layer `head`, of whatever size, is left out. Raises RequestError."""
    if not file.is_file():
        if file.suffix or len(file.parts) > 1:
            raise RequestError(f"model.weights={settings.weights}: there is no such file")
        raise unknown("model.weights", settings.weights, (NONE, IMAGENET, "FILE.safetensors"))
    found = {name: value for name, value in given.read(file).items() if not name.startswith(f"{head}.")}
    counters = {name: value for name, value in wanted.items() if name.endswith(COUNTER)}
    try:
        return given.fitting({**counters, **found}, wanted, f"{settings.arch} of torchvision")
    except RequestError as error:
        raise RequestError(f"model.weights={settings.weights}: {error}") from error


def _without_head(arch: str, network: nn.Module) -> tuple[str, int]:
    """Take the last linear layer away; what it was called, and how many features it had got. Raises RequestError."""
    last = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not last:
        raise RequestError(f"model {arch} does not end in a linear layer, so that it has no features to look at")
    name, head = last[-1]
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return name, head.in_features


def _files(settings: TorchvisionSettings) -> tuple[Path, ...]:
    """What weights are read from, if it is there."""
    file = saved_in(settings)
    return (file,) if file and file.is_file() else ()


MODELS = {
    "torchvision": ModelFamily(
        "torchvision",
        TorchvisionSettings,
        encoder,
        about="any classifier of torchvision by name, without dropout",
        files=_files,
    )
}
