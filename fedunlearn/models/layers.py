"""What a model makes of its inputs, layer by layer, for those that ask how deep something goes.

No family names its layers alike, so they are found by running the model: a layer begins with a module that has a weight
matrix (a convolution, a linear layer, a block of a residual network) and ends before the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedunlearn.data.types import Inputs
from fedunlearn.models.base import Network


@torch.no_grad()
def layer_outputs(model: Network, inputs: Inputs, side: int) -> list[Tensor]:
    """What each layer of the encoder puts out, float [n, d] each, in the order in which they run; last, the features.

    Maps are averaged to at most `side` x `side` places, sequences over their length. The model is run in the mode that
    it is in, and is hooked while it runs.
    """
    found: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        if not isinstance(out, Tensor):
            return
        if _begins_a_layer(module):
            found.append(_channels_first(module, out))
        elif found and (out.dim() == 4 or found[-1].dim() != 4):  # maps, as long as there are any
            found[-1] = _channels_first(module, out)

    handles = [module.register_forward_hook(note) for module in dict.fromkeys(_blocks(model.encoder))]
    try:
        features = model.features(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [_as_vectors(out, side) for out in (*found[:-1], features)]


def _blocks(module: nn.Module, outermost: bool = True) -> Iterator[nn.Module]:
    """The modules inside that run one after another; those that run their own in a way of their own, as a whole."""
    children = list(module.children())
    if not children or not (outermost or isinstance(module, nn.Sequential)):
        yield module
    for child in children if outermost or isinstance(module, nn.Sequential) else ():
        yield from _blocks(child, outermost and len(children) == 1)


def _begins_a_layer(module: nn.Module) -> bool:
    """Does it have more weights than normalisation has?"""
    return any(parameter.dim() > 1 for parameter in module.parameters())


def _channels_first(module: nn.Module, out: Tensor) -> Tensor:
    """Maps [n, C, H, W], also of modules that put out [n, H, W, C], such as a Swin block: C is a length of weights."""
    lengths = {len(parameter) for parameter in module.parameters()}
    if out.dim() == 4 and out.shape[3] in lengths and out.shape[1] not in lengths:
        return out.movedim(3, 1)
    return out


def _as_vectors(out: Tensor, side: int) -> Tensor:
    if out.dim() == 4:
        height, width = (min(side, length) for length in out.shape[2:])
        out = F.adaptive_avg_pool2d(out, (height, width))
    return out.mean(dim=1) if out.dim() == 3 else out.flatten(start_dim=1)
