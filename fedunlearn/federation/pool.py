"""Model instances of one process, lent out for one piece of work at a time."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from fedunlearn.models.base import Network


class ModelPool:
    """Models of one architecture on one device. `make(seed)`: a new one, whose weights depend on `seed` alone."""

    def __init__(self, make: Callable[[int], Network], device: torch.device) -> None:
        self._make, self._device = make, device
        self._idle: queue.LifoQueue[Network] = queue.LifoQueue()

    def fresh(self, seed: int) -> Network:
        """A newly initialised model on the device; its weights depend on `seed` alone."""
        model = self._make(seed).to(self._device)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @contextmanager
    def borrowed(self) -> Iterator[Network]:
        """A model instance for one piece of work; its weights are whatever the last borrower left."""
        try:
            model = self._idle.get_nowait()
        except queue.Empty:
            model = self.fresh(0)
        try:
            yield model
        finally:
            self._idle.put(model)
