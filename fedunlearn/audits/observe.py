"""What a model says on both splits: the evidence that every audit starts from."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import torch

from fedunlearn.audits.base import Evidence, Samples, SideBySide, View, one_by_one
from fedunlearn.data.types import Dataset, Prepare, Request, Split
from fedunlearn.errors import RunError
from fedunlearn.models.base import Network
from fedunlearn.tasks import base as tasks
from fedunlearn.tasks.base import Batch, Task


def observe(
    model: Network,
    dataset: Dataset,
    request: Request,
    device: torch.device,
    side_by_side: SideBySide = one_by_one,
) -> Evidence:
    """What `model` says in evaluation mode of all samples, computed on `device`.

    The model is left as it is, on its own device: a copy is run. Raises RunError if an output is not a finite number.
    """
    frozen = copy.deepcopy(model).to(device).eval()
    task = tasks.of(dataset)
    test_forget = np.isin(dataset.test.groups.cpu().numpy(), request.classes)
    splits = ((dataset.train, request.forget), (dataset.test, test_forget))
    train, test = (
        viewed(frozen, task, split, forget, dataset.prepare, device, side_by_side) for split, forget in splits
    )
    if dataset.unseen is None:
        return Evidence(model, train, test)
    nothing = np.zeros(len(dataset.unseen), dtype=bool)
    unseen = viewed(frozen, task, dataset.unseen, nothing, dataset.prepare, device, side_by_side)
    return Evidence(model, train, test, unseen=unseen)


def viewed(
    model: Network,
    task: Task,
    split: Split,
    forget: np.ndarray,
    prepare: Prepare,
    device: torch.device,
    side_by_side: SideBySide = one_by_one,
) -> View:
    """What `model`, as it is, says of a split; `forget`: bool [n]. Raises RunError where that is not finite."""

    @torch.no_grad()
    def said_of(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        piece = split.at(rows).to(device)
        batch = Batch(prepare(piece.inputs), piece.targets, torch.ones(len(piece), device=device))
        said = task.outputs(model, batch.inputs)
        parts = {"features": said.features, **task.kept(said, batch)}
        if not task.among:
            parts["score"] = task.score(said, batch)
        return {name: part.cpu() for name, part in parts.items()}

    found = side_by_side([partial(said_of, rows) for rows in torch.split(torch.arange(len(split)), task.at_once)])
    together = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    if task.among:
        together["score"] = task.among(together["features"], split.targets.cpu())
    kept = {name: part.numpy() for name, part in together.items()}
    if not all(np.isfinite(values).all() for values in kept.values()):
        raise RunError("the model's outputs are not finite numbers, so that no audit can read them")
    features, score = kept.pop("features"), kept.pop("score").astype(np.float64)
    targets, groups = split.targets.cpu().numpy(), split.groups.cpu().numpy()
    return View(features, kept, targets, groups, forget, score, Samples(split.inputs, prepare, device))
