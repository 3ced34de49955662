"""A model as a few flat vectors, one for each type of number, of which its tensors are views.

What is done to a whole model (load it, copy it, check it, add it up) is then one operation instead of one for each
tensor. Where a tensor lies in its vector follows from names, shapes, types and strides alone, so that server and
clients need only vectors from each other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Vectors = dict[str, Tensor]  # by the name of their type: all tensors of that type, one after the other

ALIGNMENT = 64  # bytes: vectorised sums come out the same, and fast, where a tensor begins at a multiple of them


def name_of(dtype: torch.dtype) -> str:
    """`float32`, as NumPy calls it."""
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies: the vector's name, the number of the first element in it, and how to read from there."""

    vector: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """The tensor: a view."""
        return vectors[self.vector].as_strided(self.shape, self.strides, self.start)


@dataclass(frozen=True)
class Layout:
    """Where each tensor of a model lies: `slots` by the tensors' names, and the `sizes` of the vectors in elements."""

    slots: Mapping[str, Slot]
    dtypes: Mapping[str, torch.dtype]
    sizes: Mapping[str, int]

    @staticmethod
    def of(state: Mapping[str, Tensor]) -> Layout:
        """The layout for tensors like these, in their order and with their strides. Tied ones share a slot."""
        slots: dict[str, Slot] = {}
        dtypes: dict[str, torch.dtype] = {}
        sizes: dict[str, int] = {}
        known: dict[object, Slot] = {}
        for name, value in state.items():
            vector, strides = name_of(value.dtype), torch.empty_like(value, device="meta").stride()
            place = (value.data_ptr(), vector, value.shape, value.stride()) if value.numel() else name
            if place not in known:
                start = sizes.get(vector, 0)
                known[place] = Slot(vector, start, tuple(value.shape), tuple(strides))
                unit = max(1, ALIGNMENT // value.element_size())
                dtypes[vector], sizes[vector] = value.dtype, start + math.ceil(value.numel() / unit) * unit
            slots[name] = known[place]
        return Layout(slots, dtypes, sizes)

    @cached_property
    def digest(self) -> str:
        """Tells layouts apart: what one wrote must not be read by another."""
        told = repr((sorted(self.slots.items()), sorted(self.sizes.items())))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def views(self, vectors: Mapping[str, Tensor]) -> Tensors:
        """The tensors in the vectors, by name."""
        return {name: slot.of(vectors) for name, slot in self.slots.items()}

    def vectors(self, state: Mapping[str, Tensor], device: torch.device) -> Vectors:
        """Copies of the tensors in new vectors; what is between them is zero."""
        made = {name: torch.zeros(size, dtype=self.dtypes[name], device=device) for name, size in self.sizes.items()}
        with torch.no_grad():
            for name, slot in self.slots.items():
                slot.of(made).copy_(state[name])
        return made

    @cached_property
    def payload(self) -> int:
        """Bytes of the tensors, without what is between them."""
        return sum(math.prod(slot.shape) * self.dtypes[slot.vector].itemsize for slot in self.slots.values())


@dataclass(frozen=True)
class Home:
    """Where a module keeps a tensor of the model, and the view that is its place in the vectors."""

    held: dict[str, Tensor | None]
    key: str
    tensor: Tensor
    view: Tensor
    address: int

    def left(self) -> bool:
        """Has somebody put another tensor there, or the tensor elsewhere?"""
        now = self.held[self.key]
        return now is not self.tensor or now.data_ptr() != self.address

    def return_(self) -> None:
        """Bring back the value that the module has now."""
        now = self.held[self.key]
        if now is not None:
            self.view.copy_(now.detach())
        self.tensor.data = self.view
        self.held[self.key] = self.tensor


class Flat:
    """Moves the tensors of `model` into vectors. The model itself works as before."""

    def __init__(self, model: nn.Module) -> None:
        state = model.state_dict(keep_vars=True)
        self.model = model
        self.layout = Layout.of(state)
        self._vectors = self.layout.vectors(state, next(iter(state.values())).device)
        views = self.layout.views(self._vectors)
        for name, tensor in state.items():
            tensor.data = views[name]
        self._homes = list(_homes(model, views))

    def load(self, vectors: Mapping[str, Tensor]) -> None:
        """Give the model the values of these vectors."""
        self._settle()
        for name, vector in self._vectors.items():
            vector.copy_(vectors[name])

    def copy(self) -> Vectors:
        """The model's values now."""
        self._settle()
        return {name: vector.clone() for name, vector in self._vectors.items()}

    @torch.no_grad()
    def _settle(self) -> None:
        """Modules may replace a buffer instead of writing into it."""
        for home in self._homes:
            if home.left():
                home.return_()


def _homes(model: nn.Module, views: Tensors) -> Iterable[Home]:
    for prefix, module in model.named_modules(remove_duplicate=False):
        for held in (module._parameters, module._buffers):
            for key, tensor in held.items():
                if (view := views.get(f"{prefix}.{key}" if prefix else key)) is not None and tensor is not None:
                    yield Home(held, key, tensor, view, view.data_ptr())
