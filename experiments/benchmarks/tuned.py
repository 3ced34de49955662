"""(c) The anchor: a loop over the clients in bare PyTorch, one process per core, as fast as we know how to write it.

What it does, and our engines are measured against: weights, gradients' steps and momentum in one flat vector each, of
which the model's tensors are views, so that a client begins with one copy and ends with one addition; one fused step
of the optimiser; images normalised once, dealt so that a client's lie side by side, shuffled by one copy per epoch and
not at all where they are one batch; the memory layout that is faster for the model at hand; no module built, no
dictionary of tensors walked and no object made per client; freed memory kept for the next batch instead of given back
to the system; processes that share data, weights and sums, and take the next client as soon as they are free.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, multiprocessing, nn

from experiments.benchmarks import workloads
from experiments.benchmarks.workloads import Workload
from fedunlearn.data.types import Dataset

LAYOUTS = {"cnn": torch.channels_last, "resnet18": torch.contiguous_format}  # the faster one on a CPU, measured
EVALUATED = 256  # images at a time
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGE = -1, -3, 2**30  # of glibc's mallopt


@dataclass(frozen=True)
class Shared:
    """What all processes see: images and labels, client by client, where each client's begin, and weights."""

    workload: Workload
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    ends: np.ndarray  # client k holds the rows from ends[k] to ends[k + 1]
    weights: Tensor
    sums: Tensor  # float32 [processes, parameters]
    next: Any  # a counter: who of the clients of the round comes next


def run(workload: Workload, dataset: Dataset, mark: Callable[[float], None], cores: int) -> None:
    """All rounds; `mark(accuracy)` before the first and after every one."""
    torch.set_num_threads(1)
    keep_memory()
    layout = LAYOUTS[workload.model]
    parts = workloads.federation(workload, dataset).parts
    dealt = torch.as_tensor(np.concatenate(parts))
    train = workloads.normalised(dataset, dataset.train)[dealt].contiguous(memory_format=layout)
    test = workloads.normalised(dataset, dataset.test).contiguous(memory_format=layout)
    weights, _ = flattened(workload.plain_model(0), layout)
    context = multiprocessing.get_context("fork")
    shared = Shared(
        workload,
        (train, dataset.train.targets[dealt]),
        (test, dataset.test.targets),
        np.cumsum([0, *map(len, parts)]),
        weights.share_memory_(),
        torch.zeros(cores, len(weights)).share_memory_(),
        context.Value("q", 0),
    )
    ends = []
    for core in range(cores):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(theirs, shared, core), daemon=True).start()
        ends.append(ours)
    stream = np.random.default_rng(0)
    mark(sum(ask(ends, "evaluate")) / len(test))
    for _ in range(workload.rounds):
        chosen = stream.choice(workload.clients, workload.asked, replace=False)
        shared.next.value = 0
        trained = sum(ask(ends, chosen))
        torch.sum(shared.sums, 0, out=weights).div_(trained)
        mark(sum(ask(ends, "evaluate")) / len(test))
    ask(ends, None)


def keep_memory() -> None:
    """Have the C library keep what is freed (Linux): else every batch asks the system for its activations anew."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
        library.mallopt(M_TRIM_THRESHOLD, LARGE)


@torch.no_grad()
def flattened(model: nn.Module, layout: torch.memory_format) -> tuple[Tensor, list[Tensor]]:
    """All parameters as one vector, and views of it in the parameters' shapes, which the model then uses."""
    parameters = list(model.parameters())
    vector = torch.empty(sum(parameter.numel() for parameter in parameters))
    views = views_of(vector, parameters, layout)
    for parameter, view in zip(parameters, views, strict=True):
        parameter.data = view.copy_(parameter)
    return vector, views


def views_of(vector: Tensor, like: list[nn.Parameter], layout: torch.memory_format) -> list[Tensor]:
    """Pieces of a vector in the shapes of parameters; those of convolutions in the memory layout asked for."""
    views = []
    for values, parameter in zip(vector.split([parameter.numel() for parameter in like]), like, strict=True):
        if parameter.dim() == 4 and layout == torch.channels_last:
            outputs, inputs, height, width = parameter.shape
            views.append(values.view(outputs, height, width, inputs).permute(0, 3, 1, 2))
        else:
            views.append(values.view(parameter.shape))
    return views


def work(end: Connection, shared: Shared, core: int) -> None:
    """One process: clients of the round as long as there are any, and its share of the test batches."""
    torch.set_num_threads(1)
    torch.manual_seed(core)
    trainer, own_sum = Trainer(shared.workload), shared.sums[core]
    while (what := end.recv()) is not None:
        if isinstance(what, str):
            end.send(trainer.evaluate(shared, core))
            continue
        own_sum.zero_()
        trained = 0
        while (number := claimed(shared.next)) < len(what):
            first, last = shared.ends[what[number]], shared.ends[what[number] + 1]
            trainer.weights.copy_(shared.weights)
            trainer.train(*(rows[first:last] for rows in shared.train))
            own_sum.add_(trainer.weights, alpha=int(last - first))
            trained += int(last - first)
        end.send(trained)
    end.send(0)


def claimed(counter: Any) -> int:
    """A number that no other process gets."""
    with counter.get_lock():
        counter.value += 1
        return int(counter.value) - 1


def ask(ends: list[Connection], what: object) -> list[int]:
    """Tell all processes, and what they answer."""
    for end in ends:
        end.send(what)
    return [end.recv() for end in ends]


class Trainer:
    """A process's model; `weights` is all of it."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._model = workload.plain_model(0)
        layout = LAYOUTS[workload.model]
        self.weights, self._views = flattened(self._model, layout)
        self._parameters = list(self._model.parameters())
        self._momenta = views_of(torch.empty_like(self.weights), self._parameters, layout) if workload.momentum else []

    def train(self, images: Tensor, labels: Tensor) -> None:
        """A client's local SGD, in place."""
        workload, first = self._workload, True
        for _ in range(workload.epochs):
            if len(labels) > workload.batch:
                order = torch.randperm(len(labels))
                images, labels = images[order], labels[order]
            for batch, truth in zip(images.split(workload.batch), labels.split(workload.batch), strict=True):
                gradients = torch.autograd.grad(F.cross_entropy(self._model(batch), truth), self._parameters)
                self._step(gradients, first)
                first = False

    @torch.no_grad()
    def _step(self, gradients: tuple[Tensor, ...], first: bool) -> None:
        """What torch.optim.SGD(fused=True) calls."""
        workload = self._workload
        torch._fused_sgd_(
            self._views,
            list(gradients),
            self._momenta,
            weight_decay=workload.decay,
            momentum=workload.momentum,
            lr=workload.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=first,
        )

    @torch.no_grad()
    def evaluate(self, shared: Shared, core: int) -> int:
        """Right answers of the shared weights on this process's share of the test images."""
        self.weights.copy_(shared.weights)
        images, labels = (torch.tensor_split(rows, len(shared.sums))[core] for rows in shared.test)
        batches = zip(images.split(EVALUATED), labels.split(EVALUATED), strict=True)
        return sum(int((self._model(batch).argmax(1) == truth).sum()) for batch, truth in batches)
