"""(c) The floor: a loop over the clients in bare PyTorch, one process per core; and plain training without clients.

In both versions data are normalised once and shared with the processes, every process uses one thread, weights travel
through shared memory and are added up in the processes. `tuned` is the best that we know how to write by hand: it adds
channels-last memory and fused optimiser steps, as our own engines have them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F
import workloads
from torch import Tensor, multiprocessing
from workloads import Workload

from fedunlearn.data.types import Dataset


@dataclass(frozen=True)
class Style:
    """How a loop is written."""

    layout: torch.memory_format
    fused: bool | None  # None: as PyTorch chooses


PLAIN = Style(torch.contiguous_format, None)
TUNED = Style(torch.channels_last, True)


def run(workload: Workload, dataset: Dataset, mark: Callable[[float], None], cores: int, style: Style) -> None:
    """All rounds; `mark(accuracy)` before the first and after every one."""
    torch.set_num_threads(1)
    pixels = workloads.normalised(dataset, dataset.train.images).contiguous(memory_format=style.layout)
    test = workloads.normalised(dataset, dataset.test.images).contiguous(memory_format=style.layout)
    parts = workloads.federation(workload, dataset).parts
    weights = flat(workload.models.fresh(0)).share_memory_()
    sums = torch.zeros(cores, len(weights), dtype=torch.float64).share_memory_()
    context = multiprocessing.get_context("fork")
    ends = []
    for core in range(cores):
        ours, theirs = context.Pipe()
        job = (
            theirs,
            workload,
            style,
            (pixels, dataset.train.labels),
            (test, dataset.test.labels),
            parts,
            weights,
            sums[core],
            core,
            cores,
        )
        context.Process(target=work, args=job, daemon=True).start()
        ends.append(ours)
    stream = np.random.default_rng(0)
    mark(ask(ends, "evaluate") / len(test))
    for _ in range(workload.rounds):
        chosen = stream.choice(workload.clients, workload.asked, replace=False)
        total = ask(ends, chosen)
        weights.copy_(sums.sum(0) / total)
        mark(ask(ends, "evaluate") / len(test))
    ask(ends, None)


def ask(ends: list[Connection], what: object) -> float:
    """Tell all processes, and add up what they answer."""
    for end in ends:
        end.send(what)
    return float(sum(end.recv() for end in ends))


def work(
    end: Connection, workload: Workload, style: Style, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor],
    parts: list[np.ndarray], weights: Tensor, own_sum: Tensor, core: int, cores: int,
) -> None:  # fmt: skip
    """One process: every `cores`-th of the clients chosen, and of the test batches."""
    torch.set_num_threads(1)
    torch.manual_seed(core)
    model = workload.models.fresh(0).to(memory_format=style.layout)
    while (what := end.recv()) is not None:
        fill(model, weights)
        if isinstance(what, str):
            end.send(evaluate(model, *test, core, cores))
            continue
        own_sum.zero_()
        trained = 0
        for number in what[core::cores]:
            rows = torch.as_tensor(parts[number])
            fill(model, weights)
            local_sgd(model, workload, style, train[0][rows], train[1][rows])
            own_sum.add_(flat(model), alpha=len(rows))
            trained += len(rows)
        end.send(trained)
    end.send(0)


@torch.no_grad()
def flat(model: torch.nn.Module) -> Tensor:
    """All parameters as one vector; a copy."""
    return torch.cat([parameter.reshape(-1) for parameter in model.parameters()])


@torch.no_grad()
def fill(model: torch.nn.Module, vector: Tensor) -> None:
    """The inverse of `flat`, in the memory that the model has."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    for parameter, values in zip(model.parameters(), vector.split(sizes), strict=True):
        parameter.copy_(values.view_as(parameter))


def local_sgd(model: torch.nn.Module, workload: Workload, style: Style, images: Tensor, labels: Tensor) -> None:
    """Plain PyTorch."""
    model.train()
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=workload.lr,
        momentum=workload.momentum,
        weight_decay=workload.decay,
        fused=style.fused,
    )
    for _ in range(workload.epochs):
        for batch in torch.randperm(len(labels)).to(labels.device).split(workload.batch):
            optimiser.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimiser.step()


@torch.no_grad()
def evaluate(model: torch.nn.Module, images: Tensor, labels: Tensor, core: int, cores: int) -> int:
    """Right answers on every `cores`-th batch."""
    model.eval()
    batches = list(zip(images.split(512), labels.split(512), strict=True))[core::cores]
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)


def central(workload: Workload, dataset: Dataset, mark: Callable[[float], None], device: str) -> None:
    """Training on all images together; a round is an epoch. No federation at all."""
    pixels, test = (
        workloads.normalised(dataset, part.images.to(device)).contiguous(memory_format=TUNED.layout)
        for part in (dataset.train, dataset.test)
    )
    labels, truth = dataset.train.labels.to(device), dataset.test.labels.to(device)
    model = workload.models.fresh(0).to(device).to(memory_format=TUNED.layout)
    mark(evaluate(model, test, truth, 0, 1) / len(test))
    for _ in range(workload.rounds):
        local_sgd(model, workload, TUNED, pixels, labels)
        mark(evaluate(model, test, truth, 0, 1) / len(test))
