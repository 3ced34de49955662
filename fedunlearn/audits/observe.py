"""What a model says on both splits: the evidence that every audit starts from."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from fedunlearn.audits.base import Evidence, Images, View
from fedunlearn.data.types import Dataset, ImageSet, Normaliser, Request
from fedunlearn.errors import RunError
from fedunlearn.models.base import Classifier

CHUNK = 512  # images at a time; fixed, because the last bits of a convolution can depend on it


def observe(model: Classifier, dataset: Dataset, request: Request, device: torch.device) -> Evidence:
    """Features and logits of `model` in evaluation mode on all images, computed on `device`.

    The model is left as it is, on its own device: a copy is run. Raises RunError if an output is not a finite number.
    """
    frozen = copy.deepcopy(model).to(device).eval()
    normalise = Normaliser(dataset.mean, dataset.std)
    test_forget = np.isin(dataset.test.labels.cpu().numpy(), request.classes)
    return Evidence(
        model,
        _view(frozen, dataset.train, request.forget, normalise, device),
        _view(frozen, dataset.test, test_forget, normalise, device),
    )


@torch.no_grad()
def outputs(
    model: Classifier, images: Tensor, normalise: Normaliser, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, d] and logits [n, classes] of `model`, as it is, on uint8 `images` [n, C, H, W].

    Raises RunError if one of them is not a finite number.
    """
    features, logits = [], []
    for piece in torch.split(images, CHUNK):
        z = model.features(normalise(piece.to(device)))
        features.append(z.cpu())
        logits.append(model.head(z).cpu())
    found = torch.cat(features).numpy(), torch.cat(logits).numpy()
    if not all(np.isfinite(values).all() for values in found):
        raise RunError("the model's outputs are not finite numbers, so that no audit can read them")
    return found


def _view(model: Classifier, split: ImageSet, forget: np.ndarray, normalise: Normaliser, device: torch.device) -> View:
    said = outputs(model, split.images, normalise, device)
    return View(*said, split.labels.cpu().numpy(), forget, Images(split.images, normalise, device))
