"""The server's look at the global model: on the test split, after as many rounds as asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from fedunlearn.data.types import Split
from fedunlearn.federation.federation import Federation
from fedunlearn.tasks.base import Batch

State = dict[str, Tensor]


def is_due(number: int, rounds: int, every: int) -> bool:
    """Is the global model tested after round `number` of `rounds`? Every so many (0: never), and after the last."""
    return number == rounds or (every > 0 and number % every == 0)


def group_scores(federation: Federation, state: State, workers: int = 1) -> list[float]:
    """Mean score of every group's test samples, in [0, 1]; for classes, the accuracy on each."""
    groups, found = federation.test.groups, scores(federation, state, federation.test, workers)
    totals = torch.zeros(federation.dataset.classes, device=found.device).index_add(0, groups, found)
    return (totals / torch.bincount(groups, minlength=federation.dataset.classes)).tolist()


def scores(federation: Federation, state: State, split: Split, workers: int = 1) -> Tensor:
    """The task's score of every sample of a split by the model `state`, float [N], with `workers` threads.

    Raises FloatingPointError where what it puts out is not finite: then it says nothing at all.
    """
    pieces = torch.split(torch.arange(len(split), device=federation.device), federation.task.at_once)
    task, prepare = federation.task, federation.dataset.prepare

    @torch.no_grad()
    def asked(rows: Tensor) -> tuple[Tensor, Tensor]:
        piece = split.at(rows)
        batch = Batch(prepare(piece.inputs), piece.targets, torch.ones(len(piece), device=rows.device))
        with federation.models.borrowed() as model:
            model.load_state_dict(state)
            model.eval()
            said = task.outputs(model, batch.inputs)
            finite = torch.stack([part.isfinite().all() for part in (said.features, *task.kept(said, batch).values())])
            return said.features if task.among else task.score(said, batch), finite.all()

    with ThreadPoolExecutor(workers) as pool:
        found, finite = zip(*pool.map(asked, pieces), strict=True)
    if not torch.stack(finite).all():
        raise FloatingPointError("what the model puts out is not finite")
    together = torch.cat(found)
    return task.among(together, split.targets) if task.among else together
