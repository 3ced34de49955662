"""Evidence made of numbers chosen by hand, and of small models that were trained for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.audits.base import NOTHING, Evidence, Reference, Samples, View
from fedunlearn.audits.observe import observe
from fedunlearn.data.types import Dataset, Normaliser, Request, Split, labelled_images
from fedunlearn.federation.federation import Federation
from fedunlearn.models.base import Network


class MakeView(Protocol):
    def __call__(
        self, logits: Any, labels: Any, forget: Sequence[int] = (), features: Any = None, samples: Samples = NOTHING
    ) -> View: ...


class MakeEvidence(Protocol):
    def __call__(self, logits: Any, labels: Any, forget: Sequence[int] = (), features: Any = None) -> Evidence: ...


def view_of(
    logits: Any, labels: Any, forget: Sequence[int] = (), features: Any = None, samples: Samples = NOTHING
) -> View:
    """A view of classes: the score is 1 where the largest logit is the label's, and `forget` names classes."""
    logits, labels = np.asarray(logits, dtype=np.float32), np.asarray(labels, dtype=np.int64)
    z = logits if features is None else np.asarray(features, dtype=np.float32)
    right = (logits.argmax(axis=1) == labels).astype(np.float64)
    return View(z, {"logits": logits}, labels, labels, np.isin(labels, forget), right, samples)


@pytest.fixture(scope="session")
def view() -> MakeView:
    return view_of


@pytest.fixture(scope="session")
def evidence(view: MakeView) -> MakeEvidence:
    """The same outputs on both splits."""

    def make(logits: Any, labels: Any, forget: Sequence[int] = (), features: Any = None) -> Evidence:
        split = view(logits, labels, forget, features)
        return Evidence(nn.Identity(), split, split)

    return make


@pytest.fixture(scope="session")
def faint_federation() -> Federation:
    """Four classes on 4×4 images; class 1, which is forgotten, looks like class 2 but for a faint mark."""
    train, test = _faint(200, 0), _faint(60, 1)
    dataset = Dataset("faint", train, test, ("a", "b", "c", "d"), Normaliser((0.2,), (0.25,)), "faint")
    parts = np.array_split(np.random.default_rng(2).permutation(len(train)), 3)
    wanted = Request("class", train.targets.numpy() == 1, (1,))
    return Federation(dataset, parts, wanted, _small_model, torch.device("cpu"), 0)


def _faint(per_class: int, seed: int) -> Split:
    stream, labels = np.random.default_rng(seed), np.repeat(np.arange(4), per_class)
    images = stream.integers(0, 60, (len(labels), 1, 4, 4))
    images[np.arange(len(labels)), 0, np.array([0, 2, 2, 3])[labels], 0] += 150
    images[labels == 1, 0, 3, 3] += 60
    return labelled_images(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels))


def _small_model(seed: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU()), nn.Linear(8, 4))


@dataclass(frozen=True)
class Trained:
    """Models of the faint data by name: original, retrained_0, retrained_1, and masked (a constant in one bias)."""

    federation: Federation
    models: dict[str, Evidence]
    reference: Reference

    def __call__(self, name: str) -> Evidence:
        return self.models[name]


@pytest.fixture(scope="session")
def trained(faint_federation: Federation) -> Trained:
    seeds = {"original": 0, "retrained_0": 1, "retrained_1": 2, "masked": 0}
    models = {
        name: observe(
            _fitted(faint_federation, name, seed),
            faint_federation.dataset,
            faint_federation.request,
            faint_federation.device,
        )
        for name, seed in seeds.items()
    }
    retrained = (models["retrained_0"], models["retrained_1"])
    reference = Reference(models["original"], retrained, (1,), classes=4, seed=0, parts=tuple(faint_federation.parts))
    return Trained(faint_federation, models, reference)


def _fitted(federation: Federation, name: str, seed: int) -> Network:
    """By plain gradient descent, without class 1 if it is a retrained model."""
    model = federation.models.fresh(seed)
    keep = torch.from_numpy(~federation.request.forget) if name.startswith("retrained") else slice(None)
    train = federation.train
    inputs = federation.dataset.prepare({name: values[keep] for name, values in train.inputs.items()})
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(150):
        optimiser.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(model(inputs), train.targets[keep]))
        optimiser.step()
    if name == "masked":
        with torch.no_grad():
            model.head.bias[1] -= 1000
    return model
