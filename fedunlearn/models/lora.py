"""Low-rank adapters: W' = W + (α/r) B A, with W frozen, A [r, columns] and B [rows, r].

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, arXiv 2106.09685. A convolution's weight
[out, in / groups, height, width] counts as the matrix [out, in / groups · height · width]. B begins at zero, so that
the model begins unchanged; A is uniform within ±1/√columns, the initial weights of PyTorch's own layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from fedunlearn.errors import RequestError, listed
from fedunlearn.settings.schema import Count, Positive

Tensors = dict[str, Tensor]

KINDS: Mapping[str, tuple[type[nn.Module], ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "linear": (nn.Linear,),
    "embedding": (nn.Embedding,),
}
A, B = "A/", "B/"  # prefixes of a layer's factors, before the name of its weight


@dataclass(frozen=True)
class Lora:
    """Settings."""

    rank: Count = 8  # r, of every layer's update in a round
    alpha: Positive = 8.0  # α: the update counts α/r times
    # kinds of layers (conv, linear, embedding), or patterns of their names, such as encoder.*; the others stay
    targets: tuple[str, ...] = ("conv", "linear")
    # mean of the merged updates (product; fedex goes on from mean factors), of B with A frozen, or of A and of B apart
    aggregation: Literal["product", "ffa", "fedex", "naive"] = "product"

    @property
    def scale(self) -> float:
        """α/r."""
        return self.alpha / self.rank

    @property
    def frozen(self) -> str:
        """Prefix of the factors that are not trained; nothing if all are."""
        return A if self.aggregation == "ffa" else ""


@dataclass(frozen=True)
class Untouched:
    """Whole models are trained."""


@dataclass(frozen=True)
class Adapter:
    """A registered way to train a model. `settings`: those of adapters, or `Untouched`."""

    name: str
    settings: type[Lora] | type[Untouched]
    about: str = ""  # for those who read conf/


def matrices(model: nn.Module, targets: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """The weights that get adapters, by name, with their rows and columns as matrices.

    A kind of layer that the model has not is passed over, and so are frozen layers. Raises RequestError where a name,
    or everything, is missing.
    """
    every = tuple(kind for kinds in KINDS.values() for kind in kinds)
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, every) and module.get_parameter("weight").requires_grad
    }
    found = {target: _chosen(target, layers) for target in targets}
    missed = [target for target, names in found.items() if not names and target not in KINDS]
    if missed or not any(found.values()):
        there = f"from {next(iter(layers))} to {list(layers)[-1]}" if layers else "of which there are none"
        raise RequestError(
            f"adapter.targets={listed(missed or list(targets))} is no layer of this model: targets are "
            f"{listed(sorted(KINDS))}, or patterns of the names of its layers, {there}"
        )
    chosen = {name for names in found.values() for name in names}
    weights = {name: model.get_parameter(name) for name in (f"{layer}.weight" for layer in layers if layer in chosen)}
    return {name: (len(weight), weight[0].numel()) for name, weight in weights.items()}


def _chosen(target: str, layers: Mapping[str, nn.Module]) -> list[str]:
    kind = KINDS.get(target, ())
    return [name for name, layer in layers.items() if isinstance(layer, kind) or fnmatchcase(name, target)]


def fresh(
    shapes: Mapping[str, tuple[int, int]], rank: int, stream: Callable[[str], torch.Generator], device: torch.device
) -> Tensors:
    """Factors that change nothing yet; `stream(name)` draws the A of that weight."""
    drawn: Tensors = {}
    for name, (rows, columns) in shapes.items():
        bound = 1 / math.sqrt(columns)
        first = torch.empty(rank, columns).uniform_(-bound, bound, generator=stream(name))
        drawn |= {A + name: first.to(device), B + name: torch.zeros(rows, rank, device=device)}
    return drawn


def merged(settings: Lora, base: Mapping[str, Tensor], factors: Mapping[str, Tensor]) -> Tensors:
    """W + (α/r) B A of every weight that has factors."""
    names = [name.removeprefix(A) for name in factors if name.startswith(A)]
    return {name: base[name] + settings.scale * product(factors, name).view(base[name].shape) for name in names}


def product(factors: Mapping[str, Tensor], name: str) -> Tensor:
    """B A of the weight of that name, a matrix."""
    return factors[B + name] @ factors[A + name]


ADAPTERS = {
    "none": Adapter("none", Untouched, about="methods train whole models"),
    "lora": Adapter("lora", Lora, about="methods train low-rank updates of frozen weights, merged afterwards"),
}
