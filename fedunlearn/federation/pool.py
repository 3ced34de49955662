"""Model instances of one process, lent out for one piece of work at a time."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor

from fedunlearn.federation.optimiser import Optimiser
from fedunlearn.models.base import Network
from fedunlearn.models.flat import Flat, Layout, Tensors


class Replica:
    """A model in flat vectors, and what trains it."""

    def __init__(self, model: Network) -> None:
        self.model, self.flat = model, Flat(model)
        self.optimiser = Optimiser(dict(model.named_parameters()))


class ModelPool:
    """Models of one architecture on one device. `make(seed)`: a new one, whose weights depend on `seed` alone."""

    def __init__(self, make: Callable[[int], Network], device: torch.device) -> None:
        self._make, self._device = make, device
        self._idle: queue.LifoQueue[Replica] = queue.LifoQueue()

    def fresh(self, seed: int) -> Network:
        """A newly initialised model on the device; its weights depend on `seed` alone."""
        return self._make(seed).laid_out(self._device)

    @cached_property
    def layout(self) -> Layout:
        """How these models lie in vectors."""
        with self.lent() as replica:
            return replica.flat.layout

    def arranged(self, state: Mapping[str, Tensor]) -> Tensors:
        """A copy of a model's tensors that lie in memory as those of this pool's models."""
        return self.layout.views(self.layout.vectors(state, self._device))

    @contextmanager
    def lent(self) -> Iterator[Replica]:
        """A model for one piece of work; its weights are whatever the last borrower left."""
        try:
            replica = self._idle.get_nowait()
        except queue.Empty:
            replica = Replica(self.fresh(0))
        try:
            yield replica
        finally:
            self._idle.put(replica)

    @contextmanager
    def borrowed(self) -> Iterator[Network]:
        """The model alone."""
        with self.lent() as replica:
            yield replica.model
