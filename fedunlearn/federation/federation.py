"""The clients' federation: one resident dataset, of which every client sees its own samples through an index."""

from __future__ import annotations

import copy
import json
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data import backdoor, partition, request, sources
from fedunlearn.data.types import Dataset, Normaliser, Request
from fedunlearn.models.base import Classifier, build
from fedunlearn.randomness import derive
from fedunlearn.settings import config as configuration
from fedunlearn.settings.config import RunConfig


@dataclass(frozen=True)
class ClientData:
    """A client's samples: positions 0..n-1 into its own data, images fetched and normalised on demand.

    `labels`: int64 [n]; `forget`: bool [n], true for its share of D_f; `seed` roots its private random streams.
    `memory`: tensors that a method keeps with the client until the stage ends. They never leave the client and do
    not outlive its process, so a method must be able to compute them again and get the same.
    """

    number: int
    index: Tensor
    labels: Tensor
    forget: Tensor
    seed: int
    pixels: Tensor
    normalise: Normaliser
    memory: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, positions: Tensor) -> Tensor:
        """Normalised images at `positions`, float32 [len(positions), C, H, W] in channels-last memory."""
        return self.normalise(self.pixels[self.index[positions]]).contiguous(memory_format=torch.channels_last)


class Federation:
    """Everything the clients of one process share: data on the device, and a pool of model instances."""

    def __init__(
        self,
        dataset: Dataset,
        parts: list[np.ndarray],
        wanted: Request,
        new_model: Callable[[int], Classifier],
        device: torch.device,
        seed: int,
    ) -> None:
        self.dataset, self.parts, self.request, self.device, self.seed = dataset, parts, wanted, device, seed
        self.normalise = Normaliser(dataset.mean, dataset.std)
        self.train, self.test = dataset.train.to(device), dataset.test.to(device)
        self._new_model = new_model
        self._idle: queue.LifoQueue[Classifier] = queue.LifoQueue()
        self._shadows: dict[int, Federation] = {}

    def of_shadow(self, number: int | None) -> Federation:
        """The same federation without the forget samples that shadow model `number` never sees; for None, this one."""
        if number is None:
            return self
        if number not in self._shadows:
            held_out = request.held_out(self.request, self.seed, number)
            federation = copy.copy(self)  # images and idle models are shared
            federation.parts = [part[~held_out[part]] for part in self.parts]
            federation.seed = derive(self.seed, "shadow", number)
            self._shadows[number] = federation
        return self._shadows[number]

    def client(self, number: int) -> ClientData:
        """The data of client `number`."""
        index = torch.as_tensor(self.parts[number], device=self.device)
        forget = torch.as_tensor(self.request.forget[self.parts[number]], device=self.device)
        labels = self.train.labels[index]
        seed = derive(self.seed, "client", number)
        return ClientData(number, index, labels, forget, seed, self.train.images, self.normalise)

    def fresh_model(self, seed: int) -> Classifier:
        """A newly initialised model on the device; its weights depend on `seed` alone."""
        model = self._new_model(seed).to(self.device)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @contextmanager
    def borrowed_model(self) -> Iterator[Classifier]:
        """A model instance for one piece of work; its weights are whatever the last borrower left."""
        try:
            model = self._idle.get_nowait()
        except queue.Empty:
            model = self.fresh_model(0)
        try:
            yield model
        finally:
            self._idle.put(model)


def open_federation(config: RunConfig) -> Federation:
    """Load the data, split it among the clients and resolve the request. Raises RequestError."""
    device = pick_device(config.device)
    dataset = sources.load(config.dataset, config.data, config.seed)
    labels = dataset.train.labels.numpy()
    parts = partition.split(config.partition, labels, config.seed)
    wanted = request.resolve(config.request, labels, parts, dataset.class_names, config.seed)
    if config.request.backdoor:
        dataset = backdoor.planted(dataset, wanted, config.request.backdoor, config.seed)
    model, shape, classes = config.model, dataset.shape, dataset.classes
    return Federation(
        dataset,
        parts,
        wanted,
        lambda seed: build(model.name, model.settings, shape, classes, seed),
        device,
        config.seed,
    )


@lru_cache(maxsize=1)
def federation_from_json(text: str) -> Federation:
    """The same federation in another process; kept there, since every message to a client of that process needs it."""
    torch.set_num_threads(1)  # as the clients of the local engine: another number gives other bits
    return open_federation(configuration.load(json.loads(text)))


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device that is there. Raises RequestError."""
    from fedunlearn.errors import RequestError

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise RequestError(f"device must be auto, cpu, cuda or cuda:N, not {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise RequestError(f"device={name} was asked for, but this machine has {torch.cuda.device_count()} usable GPUs")
    return torch.device(name)
