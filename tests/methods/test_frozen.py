"""What a model holds still, no method moves: those that edit weights, or ask for gradients of them, by themselves."""

import pytest
import torch
from torch import nn

from fedunlearn.federation.pool import ModelPool
from fedunlearn.methods.fused import Fused
from fedunlearn.methods.quickdrop import QuickDrop
from fedunlearn.models.base import Network
from fedunlearn.models.torchvision import Frozen
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig

STILL = "encoder.0."
FEW = {"quickdrop": QuickDrop(steps=1), "fused": Fused(layers=2)}


def half_frozen(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        still = Frozen(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()))
        moving = [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        return Network(nn.Sequential(still, *moving), nn.Linear(16, 4))


@pytest.mark.parametrize(
    "name",
    ["fedosd", "fucrt_plus", "fused", "gradient_ascent", "momentum_degradation", "not", "pruning", "quickdrop"],
)
def test_what_is_frozen_stays(make_federation, play, name):
    federation = make_federation(clients=2)
    federation.models = ModelPool(half_frozen, federation.device)
    pace = TrainConfig(rounds=3, local_epochs=1, batch_size=12, lr=0.05)
    settings = FEW.get(name) or registry.find("method", name).settings()
    began = federation.models.fresh(0).state_dict()
    found = play(federation, name, settings, pace)[-1].model
    changed = {entry for entry, value in began.items() if not torch.equal(found[entry], value)}
    assert changed and not [entry for entry in changed if entry.startswith(STILL)]
