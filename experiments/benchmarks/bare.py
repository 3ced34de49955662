"""(d) A plain loop over the clients in PyTorch, one process per core; and plain training without clients.

As most people would write it, with the care that costs nothing: data are normalised once and shared with the processes,
every process uses one thread, weights travel through shared memory and are added up in the processes. The same loop
with all that we know about speed is tuned.py.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, multiprocessing, nn

from experiments.benchmarks import workloads
from experiments.benchmarks.workloads import Workload
from fedunlearn.data.types import Dataset

Samples = tuple[Tensor, Tensor]


def run(workload: Workload, dataset: Dataset, mark: Callable[[float], None], cores: int) -> None:
    """All rounds; `mark(accuracy)` before the first and after every one."""
    torch.set_num_threads(1)
    train, test = (
        (workloads.normalised(dataset, split).contiguous(), split.targets) for split in (dataset.train, dataset.test)
    )
    parts = workloads.federation(workload, dataset).parts
    weights = flat(workload.plain_model(0)).share_memory_()
    sums = torch.zeros(cores, len(weights), dtype=torch.float64).share_memory_()
    context = multiprocessing.get_context("fork")
    ends = []
    for core in range(cores):
        ours, theirs = context.Pipe()
        job = (theirs, workload, train, test, parts, weights, sums, core)
        context.Process(target=work, args=job, daemon=True).start()
        ends.append(ours)
    stream = np.random.default_rng(0)
    mark(ask(ends, "evaluate") / len(test[1]))
    for _ in range(workload.rounds):
        chosen = stream.choice(workload.clients, workload.asked, replace=False)
        total = ask(ends, chosen)
        weights.copy_(sums.sum(0) / total)
        mark(ask(ends, "evaluate") / len(test[1]))
    ask(ends, None)


def ask(ends: list[Connection], what: object) -> float:
    """Tell all processes, and add up what they answer."""
    for end in ends:
        end.send(what)
    return float(sum(end.recv() for end in ends))


def work(
    end: Connection, workload: Workload, train: Samples, test: Samples, parts: list[np.ndarray], weights: Tensor,
    sums: Tensor, core: int,
) -> None:  # fmt: skip
    """One process: every `cores`-th of the clients chosen, and of the test batches."""
    torch.set_num_threads(1)
    torch.manual_seed(core)
    model, cores = workload.plain_model(0), len(sums)
    while (what := end.recv()) is not None:
        fill(model, weights)
        if isinstance(what, str):
            end.send(evaluate(model, *test, core, cores))
            continue
        sums[core].zero_()
        trained = 0
        for number in what[core::cores]:
            rows = torch.as_tensor(parts[number])
            fill(model, weights)
            local_sgd(model, workload, train[0][rows], train[1][rows])
            sums[core].add_(flat(model), alpha=len(rows))
            trained += len(rows)
        end.send(trained)
    end.send(0)


@torch.no_grad()
def flat(model: nn.Module) -> Tensor:
    """All parameters as one vector; a copy."""
    return torch.cat([parameter.reshape(-1) for parameter in model.parameters()])


@torch.no_grad()
def fill(model: nn.Module, vector: Tensor) -> None:
    """The inverse of `flat`, in the memory that the model has."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    for parameter, values in zip(model.parameters(), vector.split(sizes), strict=True):
        parameter.copy_(values.view_as(parameter))


def local_sgd(model: nn.Module, workload: Workload, images: Tensor, labels: Tensor) -> None:
    """Plain PyTorch."""
    model.train()
    optimiser = torch.optim.SGD(
        model.parameters(), lr=workload.lr, momentum=workload.momentum, weight_decay=workload.decay
    )
    for _ in range(workload.epochs):
        for batch in torch.randperm(len(labels)).to(labels.device).split(workload.batch):
            optimiser.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimiser.step()


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor, core: int, cores: int) -> int:
    """Right answers on every `cores`-th batch."""
    model.eval()
    batches = list(zip(images.split(512), labels.split(512), strict=True))[core::cores]
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)


def central(workload: Workload, dataset: Dataset, mark: Callable[[float], None], device: str) -> None:
    """Training on all images together, channels-last; a round is an epoch. No federation at all."""
    (images, labels), (test, truth) = (
        (workloads.normalised(dataset, split.to(torch.device(device))), split.targets.to(device))
        for split in (dataset.train, dataset.test)
    )
    model = workload.plain_model(0).to(device).to(memory_format=torch.channels_last)
    mark(evaluate(model, test, truth, 0, 1) / len(test))
    for _ in range(workload.rounds):
        local_sgd(model, workload, images, labels)
        mark(evaluate(model, test, truth, 0, 1) / len(test))
