"""The server's look at the global model: on the test split after every round, and on what every client holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data.types import ImageSet
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.sgd import EVALUATION_BATCH

State = dict[str, Tensor]


def class_accuracy(federation: Federation, state: State, workers: int = 1) -> list[float]:
    """Test accuracy of every class, in [0, 1], with arg max over all classes."""
    labels, right = federation.test.labels, correct(federation, state, federation.test, workers)
    hits = torch.bincount(labels[right], minlength=federation.dataset.classes)
    return (hits / torch.bincount(labels, minlength=federation.dataset.classes)).tolist()


def evaluate_clients(federation: Federation, state: State, workers: int = 1) -> np.ndarray:
    """The model's accuracy on every client's own retain data (training split), float64 [clients]; NaN without any.

    One pass over the resident training data serves all clients, however many there are.
    """
    right = correct(federation, state, federation.train, workers).cpu().numpy()
    retain = ~federation.request.forget
    held = [part[retain[part]] for part in federation.parts]
    return np.array([right[rows].mean() if len(rows) else np.nan for rows in held])


def correct(federation: Federation, state: State, split: ImageSet, workers: int = 1) -> Tensor:
    """Which images of a split the model `state` gets right, bool [N], with `workers` threads.

    Raises FloatingPointError where what it puts out is not finite: then it says nothing at all.
    """
    batches = list(zip(*(torch.split(part, EVALUATION_BATCH) for part in (split.images, split.labels)), strict=True))

    @torch.no_grad()
    def judge(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch
        with federation.borrowed_model() as model:
            model.load_state_dict(state)
            model.eval()
            x = federation.normalise(images).contiguous(memory_format=torch.channels_last)
            logits = model(x)
            return logits.argmax(1) == labels, logits.isfinite().all()

    with ThreadPoolExecutor(workers) as pool:
        right, finite = zip(*pool.map(judge, batches), strict=True)
    if not torch.stack(finite).all():
        raise FloatingPointError("what the model puts out is not finite")
    return torch.cat(right)
