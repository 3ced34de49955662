"""Which layer of a model shows where in the image it looks: the last one whose maps are large enough to say where.

No family has a fixed name for it. It depends on the size of the images (`layer3` of a ResNet at 32 pixels, `layer4` at
224), on stem and normalisation, and on which of torchvision's networks it is; so it is found by running the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedunlearn.models.base import Network

LEAST = 7  # pixels of a side: a smaller map hardly says where
ALIKE = 2.0  # how much more a map may be squeezed along one side than along the other


def map_layer(model: Network, images: Tensor) -> str:
    """The name of the last layer with maps of at least 7x7 that are all that later layers see of the image.

    Empty if there is none, as in models without convolutions. Pooling does not count, since the maps before it show
    more; nor does a layer beside which a shortcut passes. `images`: float [n, C, H, W], one at least, as the model eats
    them. The model has to be in evaluation mode, and is hooked while this looks.
    """
    image = images[:1]
    passed = _passed(model, image)
    calls = Counter(each.name for each in passed)
    pooled = [each.maps for each in passed if each.pools]
    names = [
        each.name
        for each in passed
        if calls[each.name] == 1 and _has_places(each.maps, image) and not any(each.maps is maps for maps in pooled)
    ]
    return next((name for name in reversed(names) if _is_all(model, name, image)), "")


@dataclass(frozen=True)
class _Passed:
    """What a layer put out, and whether it has no weights and does no more than pool."""

    name: str
    maps: Tensor
    pools: bool


@torch.no_grad()
def _passed(model: Network, image: Tensor) -> list[_Passed]:
    """All four-dimensional outputs of layers, in the order in which they were done."""
    passed: list[_Passed] = []

    def noting(name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
            if isinstance(out, Tensor) and out.dim() == 4:
                passed.append(_Passed(name, out, _pools(module, given, out)))

        return note

    named = list(model.encoder.named_modules(prefix="encoder"))
    handles = [module.register_forward_hook(noting(name)) for name, module in named]
    try:
        model.features({"images": image})
    finally:
        for handle in handles:
            handle.remove()
    return passed


def _pools(module: nn.Module, given: tuple[Any, ...], out: Tensor) -> bool:
    came = next((each for each in given if isinstance(each, Tensor)), out)
    return next(module.parameters(), None) is None and came.numel() != out.numel()


def _has_places(maps: Tensor, image: Tensor) -> bool:
    """Are these maps of the image, large enough? Some networks keep channels last, where their numbers look alike."""
    (height, width), (full_height, full_width) = maps.shape[2:], image.shape[2:]
    squeezed = (height * full_width) / (width * full_height)
    return LEAST <= height <= full_height and LEAST <= width <= full_width and 1 / ALIKE < squeezed < ALIKE


def _is_all(model: Network, name: str, image: Tensor) -> bool:
    """Does nothing of the image pass beside that layer?"""
    handle = model.get_submodule(name).register_forward_hook(lambda module, given, out: out.detach().clone())
    try:
        with torch.enable_grad():
            probe = image.detach().clone().requires_grad_()
            features = model.features({"images": probe})
    finally:
        handle.remove()
    if not features.requires_grad:
        return True
    return torch.autograd.grad(features.sum(), probe, allow_unused=True)[0] is None
