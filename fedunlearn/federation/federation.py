"""A federation in one process: one resident dataset, of which every client sees its own samples through an index."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data import backdoor, partition, request, sources
from fedunlearn.data.types import Dataset, Inputs, Prepare, Request, Split
from fedunlearn.errors import RequestError
from fedunlearn.federation.pool import ModelPool
from fedunlearn.federation.spec import StageSpec, Variant
from fedunlearn.models.base import Network, build, fetch
from fedunlearn.randomness import derive
from fedunlearn.settings import config as configuration
from fedunlearn.settings.config import RunConfig
from fedunlearn.tasks import base as tasks
from fedunlearn.tasks.base import Batch, Task


@dataclass(frozen=True)
class ClientData:
    """A client's samples: positions 0..n-1 into its own data, inputs fetched and prepared on demand.

    `targets`: [n, …] and `groups`: int64 [n], as in `Split`; `forget`: bool [n], true for its share of D_f; `seed`
    roots its private random streams. `rows`: numbers of its samples in `raw`, the inputs of everybody, and `prepare`
    makes them a model's. Nothing of this may be written into. `memory`: tensors that a method keeps with the client
    until the stage ends. They never leave the client and do not outlive its process, so a method must be able to
    compute them again and get the same. `shared`: what the server sent along with the message that is being answered.
    """

    number: int
    rows: Tensor
    targets: Tensor
    groups: Tensor
    forget: Tensor
    seed: int
    task: Task
    raw: Inputs
    prepare: Prepare
    memory: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.groups)

    def batch(self, positions: Tensor) -> Batch:
        """The samples at `positions`, each of which counts, with their own targets."""
        weights = torch.ones(len(positions), device=positions.device)
        return Batch(self.inputs(positions), self.targets[positions], weights, plain=True)

    def inputs(self, positions: Tensor | None = None) -> Inputs:
        """What a model eats, of the samples at `positions` (None: of all): by name, one row for each."""
        return self.prepare(self.taken(self.rows if positions is None else self.rows[positions]))

    def taken(self, rows: Tensor) -> Inputs:
        """Rows of `raw`, as the split holds them."""
        return {name: values[rows] for name, values in self.raw.items()}


@dataclass(frozen=True)
class Holdings:
    """What all clients hold, one client after the other; client k's are `starts[k]` to `starts[k + 1]`."""

    starts: list[int]
    rows: Tensor
    targets: Tensor
    groups: Tensor
    forget: Tensor

    @staticmethod
    def of(parts: list[np.ndarray], train: Split, forget: np.ndarray) -> Holdings:
        """Gathered once, since clients ask for their share in every round."""
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).tolist()
        joined = np.concatenate(parts)
        rows = torch.as_tensor(joined, device=train.groups.device)
        marked = torch.as_tensor(forget[joined], device=train.groups.device)
        return Holdings(starts, rows, train.targets[rows], train.groups[rows], marked)

    def of_client(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows, targets, groups and forget marks: views, not to be written into."""
        start, length = self.starts[number], self.starts[number + 1] - self.starts[number]
        rows, targets, groups, forget = self.rows, self.targets, self.groups, self.forget
        return (
            rows.narrow(0, start, length),
            targets.narrow(0, start, length),
            groups.narrow(0, start, length),
            forget.narrow(0, start, length),
        )


class Federation:
    """Everything the clients of one process share: data on the device, the task, and model instances."""

    def __init__(
        self,
        dataset: Dataset,
        parts: list[np.ndarray],
        wanted: Request,
        new_model: Callable[[int], Network],
        device: torch.device,
        seed: int,
    ) -> None:
        self.dataset, self.parts, self.request, self.device, self.seed = dataset, parts, wanted, device, seed
        self.task = tasks.of(dataset)
        self.train, self.test = dataset.train.to(device), dataset.test.to(device)
        self.models = ModelPool(new_model, device)
        self._variants: dict[Variant, Federation] = {}
        self._retaining: Federation | None = None
        self._holdings: Holdings | None = None

    def of_variant(self, variant: Variant | None) -> Federation:
        """The variant of this federation, with a seed of its own; for None, this one."""
        if variant is None:
            return self
        if variant not in self._variants:
            seed = derive(self.seed, variant.kind, variant.number)
            if variant.kind == "replica":
                self._variants[variant] = self.replaced(seed=seed)
            else:
                self._variants[variant] = self._without(request.held_out(self.request, self.seed, variant.number), seed)
        return self._variants[variant]

    def retaining(self) -> Federation:
        """The same federation without any forget sample: clients that held nothing else hold nothing."""
        if self._retaining is None:
            self._retaining = self._without(self.request.forget, self.seed)
        return self._retaining

    def of_stage(self, spec: StageSpec) -> Federation:
        """The federation that a stage works on: its variant, and to repair a model, what is left of it to retain."""
        variant = self.of_variant(spec.variant)
        return variant.retaining() if spec.kind == "repair" else variant

    def _without(self, samples: np.ndarray, seed: int) -> Federation:
        """The same federation with another seed, whose clients lack these samples (bool, one for each of `train`)."""
        return self.replaced(parts=[part[~samples[part]] for part in self.parts], seed=seed)

    def replaced(
        self, *, parts: list[np.ndarray] | None = None, wanted: Request | None = None, seed: int | None = None
    ) -> Federation:
        """The same samples and models, otherwise dealt out (positions of each client), with another request or seed."""
        federation = copy.copy(self)
        federation.parts = self.parts if parts is None else parts
        federation.request = self.request if wanted is None else wanted
        federation.seed = self.seed if seed is None else seed
        federation._variants, federation._retaining, federation._holdings = {}, None, None
        return federation

    def client(self, number: int) -> ClientData:
        """The data of client `number`."""
        if self._holdings is None:
            self._holdings = Holdings.of(self.parts, self.train, self.request.forget)
        held = self._holdings.of_client(number)
        seed = derive(self.seed, "client", number)
        return ClientData(number, *held, seed, self.task, self.train.inputs, self.dataset.prepare)


def open_federation(config: RunConfig) -> Federation:
    """Load the data, split it among the clients and resolve the request. Raises RequestError."""
    device = pick_device(config.device)
    dataset = sources.load(config.dataset, config.data, config.seed)
    groups = dataset.train.groups.numpy()
    parts = partition.split(config.partition, groups, config.seed)
    wanted = request.resolve(config.request, groups, parts, dataset.class_names, config.seed)
    if config.request.backdoor:
        dataset = backdoor.planted(dataset, wanted, config.request.backdoor, config.seed)
    task = tasks.of(dataset)
    model, sample = config.model, dataset.sample
    if config.data.download:
        fetch(model.name, model.settings)
    return Federation(
        dataset,
        parts,
        wanted,
        lambda seed: build(model.name, model.settings, sample, lambda width: task.head(width, dataset), seed),
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
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise RequestError(f"device must be auto, cpu, cuda or cuda:N, not {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise RequestError(f"device={name} was asked for, but this machine has {torch.cuda.device_count()} usable GPUs")
    return torch.device(name)
