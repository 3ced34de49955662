"""The server's look at the global model: on the test split after every round, and on what every client holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data.types import ImageSet
from fedunlearn.federation.local import EVALUATION_BATCH
from fedunlearn.federation.world import World

State = dict[str, Tensor]


def class_accuracy(world: World, state: State, workers: int = 1) -> list[float]:
    """Test accuracy of every class, in [0, 1], with arg max over all classes."""
    labels, right = world.test.labels, correct(world, state, world.test, workers)
    hits = torch.bincount(labels[right], minlength=world.dataset.classes)
    return (hits / torch.bincount(labels, minlength=world.dataset.classes)).tolist()


def evaluate_clients(world: World, state: State, workers: int = 1) -> np.ndarray:
    """The model's accuracy on every client's own retain data (training split), float64 [clients]; NaN without any.

    One pass over the resident training data serves all clients, however many there are.
    """
    right = correct(world, state, world.train, workers).cpu().numpy()
    retain = ~world.request.forget
    held = [part[retain[part]] for part in world.parts]
    return np.array([right[rows].mean() if len(rows) else np.nan for rows in held])


def correct(world: World, state: State, split: ImageSet, workers: int = 1) -> Tensor:
    """Which images of a split the model `state` gets right, bool [N], with `workers` threads."""
    batches = list(zip(*(torch.split(part, EVALUATION_BATCH) for part in (split.images, split.labels)), strict=True))

    @torch.no_grad()
    def judge(batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        with world.borrowed_model() as model:
            model.load_state_dict(state)
            model.eval()
            x = world.normalise(images).contiguous(memory_format=torch.channels_last)
            right: Tensor = model(x).argmax(1) == labels
            return right

    with ThreadPoolExecutor(workers) as pool:
        return torch.cat(list(pool.map(judge, batches)))
