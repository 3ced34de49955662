"""Run a method's whole stage, server and clients, on a small federation."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fedunlearn.data.types import Dataset, Normaliser, Request, labelled_images
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.engines.local import Local
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.method import NoSettings
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.settings.config import Choice, TrainConfig
from fedunlearn.settings.schema import plain

PACE = TrainConfig(rounds=1, local_epochs=1, batch_size=100, lr=0.05, momentum=0.0, weight_decay=0.0)


def play_stage(federation, method, settings, training=PACE, begin=None, config=None):
    """What the stage leaves behind after its preparation and after every round of `training.rounds`."""
    request = federation.request
    level = {"level": request.level, "forget_classes": request.classes}
    spec = StageSpec("unlearn", 0, method, training, federation.dataset.classes, **level, settings=plain(settings))
    begin = begin or Progress({name: value.clone() for name, value in federation.models.fresh(0).state_dict().items()})
    seen = []
    config = config or SimpleNamespace(engine=Choice("local", Local(workers=1)), train=training)
    run_stage(spec, begin, training.rounds, federation, config, seen.append)
    return seen


@pytest.fixture(scope="session")
def play():
    """`play(federation, "not", Negation(), TrainConfig(rounds=2))`: a list of Progress."""
    return play_stage


@pytest.fixture
def trained(make_federation):
    """A federation of blobs, and an original model that knows all of its classes, as Progress."""
    federation = make_federation(clients=3, classes=4, per_class=40)
    pace = TrainConfig(rounds=7, local_epochs=1, batch_size=10, lr=0.05)
    model = play_stage(federation, "fedavg", NoSettings(), pace)[-1].model
    return federation, Progress(model)


class TwoWeights(torch.nn.Module):
    """Logits (0, w · z) of features z: two parameters, so that a step can be worked out by hand."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, z):
        return torch.stack([torch.zeros_like(z[:, 0]), z @ self.weight], 1)


def two_weights(weight=(0.0, 0.0)):
    """The model with those two weights, for images of two pixels."""
    model = Network(torch.nn.Flatten(), TwoWeights())
    model.head.weight.data = torch.tensor(weight)
    return model


@pytest.fixture
def pair_federation():
    """A federation of two-pixel images whose model has two weights, `start` at first.

    `pair_federation([(x, label, forget), …], …)`, client by client; x is a pair of zeros and ones.
    """

    def make(*clients, start=(0.0, 0.0)):
        rows = [row for client in clients for row in client]
        pixels = torch.tensor([row[0] for row in rows], dtype=torch.uint8).view(-1, 1, 1, 2) * 255
        images = labelled_images(pixels, torch.tensor([row[1] for row in rows]))
        dataset = Dataset("pairs", images, images, ("a", "b"), Normaliser((0.0,), (1.0,)), "pairs")
        ends = np.cumsum([len(client) for client in clients])
        parts = np.split(np.arange(len(rows)), ends[:-1])
        wanted = Request("sample", np.array([row[2] for row in rows]), ())
        return Federation(dataset, parts, wanted, lambda seed: two_weights(start), torch.device("cpu"), 0)

    return make
