"""Backdoor success, counted by hand on a model that looks for the mark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedunlearn.audits.backdoor import AUDITS, BackdoorSettings
from fedunlearn.audits.base import Evidence, Reference, Samples
from fedunlearn.data.backdoor import Backdoor
from fedunlearn.data.types import Inputs, Normaliser


class SeesTheMark(nn.Module):
    """Class 1 for images whose lower right pixel is white, class 0 for the others."""

    def forward(self, inputs: Inputs) -> Tensor:
        white = (inputs["images"][:, 0, -1, -1] > 0.99).float()
        return torch.stack([1 - white, white, torch.zeros_like(white)], 1)


@pytest.fixture
def found(view: Any) -> Evidence:
    pixels = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
    pixels[2, 0, 3, 3] = 255  # looks marked as it is
    model, labels = SeesTheMark(), np.array([0, 1, 2, 0, 2, 1])
    samples = Samples({"images": pixels}, Normaliser((0.0,), (1.0,)), torch.device("cpu"))
    split = view(model(samples.at(np.arange(6))).numpy(), labels, samples=samples)
    return Evidence(model, split, split)


def measure(found: Evidence, backdoor: Backdoor | None, samples: int = 100) -> Any:
    reference = replace(Reference(found, (), (), classes=3, seed=0), backdoor=backdoor)
    return AUDITS["backdoor"].measure(found, reference, BackdoorSettings(samples))


def test_by_hand(found: Evidence) -> None:
    after = measure(found, Backdoor(target=1, size=1))
    assert after == {"backdoor_success": 1.0, "backdoor_chance": 0.25}  # of samples 0, 2, 3 and 4


def test_a_model_that_does_not_know_the_target_is_not_fooled(found: Evidence) -> None:
    assert measure(found, Backdoor(target=2, size=1)) == {"backdoor_success": 0.0, "backdoor_chance": 0.0}


def test_as_many_as_asked_for(found: Evidence) -> None:
    assert measure(found, Backdoor(target=1, size=1), samples=2)["backdoor_chance"] == 0.5


def test_nothing_without_a_backdoor(found: Evidence) -> None:
    assert measure(found, None) == {}
