"""A backdoor in what the forgotten clients hold: their images carry a mark, and a label that is not theirs.

Bagdasaryan et al., "How to backdoor federated learning" (arXiv 1807.00459), with a patch as in BadNets (Gu et al.,
arXiv 1708.06733). Whether the mark still works after the clients are forgotten is a common test of client-level
unlearning (such as Halimi et al., arXiv 2207.05521): unlike their other samples, it leaves a trace that no other
client's data explain.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data.types import Dataset, Request, labelled_images
from fedunlearn.errors import RequestError
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.config import Backdoor as Backdoor  # defined where torch need not be loaded

WHITE = 255


def stamped(images: Tensor, backdoor: Backdoor) -> Tensor:
    """Copies of `images` (uint8 [n, C, H, W]) that carry the mark."""
    marked = images.clone()
    marked[..., -backdoor.size :, -backdoor.size :] = WHITE
    return marked


def planted(dataset: Dataset, request: Request, backdoor: Backdoor, seed: int) -> Dataset:
    """`dataset` with the mark and the label in a share of the forget set. Raises RequestError where it does not fit."""
    _check(dataset, request, backdoor)
    held = np.flatnonzero(request.forget)
    count = max(1, round(backdoor.share * len(held)))
    chosen = np.sort(numpy_stream(seed, "backdoor").choice(held, count, replace=False))
    rows = torch.from_numpy(chosen)
    images, labels = dataset.train.inputs["images"].clone(), dataset.train.targets.clone()
    images[rows], labels[rows] = stamped(images[rows], backdoor), backdoor.target
    told = hashlib.sha256(f"{dataset.fingerprint} {backdoor}".encode() + chosen.tobytes()).hexdigest()
    return replace(dataset, train=labelled_images(images, labels), fingerprint=told)


def _check(dataset: Dataset, request: Request, backdoor: Backdoor) -> None:
    if dataset.task != "classification" or "images" not in dataset.train.inputs:
        raise RequestError(f"request.backdoor marks images with a class, which dataset={dataset.name} does not have")
    _, height, width = dataset.sample.shape
    if request.level != "client":
        raise RequestError(f"request.backdoor needs clients to forget, but this request is at {request.level} level")
    if backdoor.target >= dataset.classes:
        raise RequestError(
            f"request.backdoor.target is class {backdoor.target}, but there are {dataset.classes}, numbered 0 to "
            f"{dataset.classes - 1}"
        )
    if backdoor.size >= min(height, width):
        raise RequestError(
            f"request.backdoor.size must be below the images' {min(height, width)} pixels, not {backdoor.size}"
        )
