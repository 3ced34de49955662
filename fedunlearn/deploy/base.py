"""What a format is: weights rounded to a grid, and the model that computes with them.

Weight-only quantisation after training, as the weights are read back: a convolution, a linear layer or an embedding
computes in float32 with the weights that the format can hold. Its bias, and every other layer, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = (nn.Conv2d, nn.Linear, nn.Embedding)


@dataclass(frozen=True)
class Rounded:
    """Weights on the grid of a format, all in the shape of the weights.

    `values`: as they are read back, of the weights' dtype; `codes`: int16, which of the format's levels each takes;
    `half_steps`: float64, how far a weight at the middle of its bin can move before it leaves it (0 in a group of
    zeros).
    """

    values: Tensor
    codes: Tensor
    half_steps: Tensor


@dataclass(frozen=True)
class Format:
    """A registered format. `round(groups)`: its grid for groups of weights that share a scale, [groups, size].

    `group_size`: how many weights of an output channel share one, unless the run says otherwise; None: all of them.
    """

    name: str
    bits: int
    round: Callable[[Tensor], Rounded]
    group_size: int | None = None
    about: str = ""


@dataclass(frozen=True)
class Floor:
    """A format whose bins weights must leave; `group_size` as in `rounded`."""

    format: str
    group_size: int | None = None


def rounded(weight: Tensor, format: Format, group_size: int | None = None) -> Rounded:
    """The weights [outputs, …] of a layer in a format, every output channel by itself.

    Groups run along the flattened inputs of a channel; its last group may be smaller. Bit-equal on every device: all
    is computed in float64 by single operations that IEEE 754 defines to the last bit, and rounded to the weights'
    dtype once.
    """
    rows = weight.detach().flatten(1)
    size = min(group_size or format.group_size or rows.shape[1], rows.shape[1])
    padded = F.pad(rows, (0, -rows.shape[1] % size))  # zeros change no group's largest weight
    found = format.round(padded.reshape(-1, size))

    def in_shape(grouped: Tensor) -> Tensor:
        return grouped.reshape(padded.shape)[:, : rows.shape[1]].reshape(weight.shape)

    return Rounded(in_shape(found.values), in_shape(found.codes), in_shape(found.half_steps))


def weights_of(network: nn.Module) -> list[str]:
    """The names of the tensors that formats round: the weights of convolutions, linear layers and embeddings."""
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, LAYERS)]
    return [f"{name}.weight" if name else "weight" for name, _ in layers]


Quantiser = Callable[[Tensor], Rounded]


def converted(tensors: Mapping[str, Tensor], names: Sequence[str], quantise: Quantiser) -> dict[str, Tensor]:
    """A model's tensors with those called `names` as the format holds them."""
    return {
        name: quantise(tensor).values.contiguous() if name in set(names) else tensor for name, tensor in tensors.items()
    }


def largest(groups: Tensor) -> Tensor:
    """The largest magnitude of each group, float64 [groups, 1]."""
    return torch.amax(groups.double().abs(), dim=1, keepdim=True)
