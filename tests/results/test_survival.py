"""What survives a format: by hand, and on a model whose update is planted below half a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from fedunlearn.deploy.base import Format, rounded
from fedunlearn.results.findings import Finding
from fedunlearn.results.survival import Layer, of_findings, of_weights
from fedunlearn.settings import registry

INT3 = registry.find(Format, "int3")
DECLARED = {
    "forget_accuracy": Finding("forget_accuracy", "forget accuracy", "", "up"),
    "leak": Finding("leak", "leak", "", "up", counted=True),
    "relearn_batches": Finding("relearn_batches", "relearn batches", "", "down", counted=True),
    "retain_accuracy": Finding("retain_accuracy", "retain accuracy", ""),
}


def layer(original: torch.Tensor, unlearned: torch.Tensor, format: Format = INT3) -> Layer:
    first, then = rounded(original, format), rounded(unlearned, format)
    parts = (original, unlearned, first.codes, then.codes, first.values, then.values, first.half_steps)
    return Layer(*(part.numpy() for part in parts))


def test_by_hand() -> None:
    # The step is 2: of four weights one leaves its bin, for the next.
    original, unlearned = torch.tensor([[6.0, 0.0, 2.0, 4.0]]), torch.tensor([[6.0, 0.5, 3.5, 4.0]])
    found = of_weights([layer(original, unlearned)])
    assert found["flipped"] == 0.25
    assert found["cosine"] == pytest.approx(1.5 * 2 / (2 * np.sqrt(0.5**2 + 1.5**2)))
    assert found["length"] == pytest.approx(2 / np.sqrt(2.5))
    assert found["step_ratio_50"] == pytest.approx(0.25) and found["step_ratio_90"] == pytest.approx(1.2)


def test_equal_models_flip_nothing_and_have_no_update() -> None:
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    found = of_weights([layer(weight, weight)])
    assert found["flipped"] == 0.0 and found["cosine"] is None and found["length"] is None
    assert found["step_ratio_90"] == 0.0
    assert set(of_weights([]).values()) == {None}


def test_layers_are_taken_together() -> None:
    moved = layer(torch.tensor([[6.0, 0.0]]), torch.tensor([[6.0, 2.0]]))
    still = layer(torch.tensor([[3.0, 1.0, 1.0, 1.0, 1.0, 1.0]]), torch.tensor([[3.0, 1.0, 1.0, 1.0, 1.0, 1.0]]))
    assert of_weights([moved, still])["flipped"] == 1 / 8
    assert of_weights([moved, still])["cosine"] == pytest.approx(1.0)


def test_findings_come_back_in_the_direction_in_which_more_is_left() -> None:
    before = {"forget_accuracy": 0.25, "leak": 0.5, "relearn_batches": 40.0, "retain_accuracy": 0.9}
    after = {"forget_accuracy": 0.5, "leak": 0.25, "relearn_batches": 30.0, "retain_accuracy": 0.8}
    original = {"forget_accuracy": 0.75, "leak": 1.0, "relearn_batches": 0.0, "retain_accuracy": 0.95}
    assert of_findings(before, after, original, DECLARED) == {
        "reversion.forget_accuracy": 0.25,
        "way_back.forget_accuracy": 0.5,
        "reversion.leak": -0.25,
        "way_back.leak": -0.5,
        "reversion.relearn_batches": 10.0,
        "way_back.relearn_batches": 0.25,
    }
    nowhere = of_findings(before, after, {**original, "forget_accuracy": 0.25, "leak": None}, DECLARED)
    assert nowhere["way_back.forget_accuracy"] is None and nowhere["way_back.leak"] is None
    assert nowhere["reversion.forget_accuracy"] == 0.25


def test_an_update_below_half_a_step_reverts_and_is_seen_to() -> None:
    """The positive control: a model on the grid forgets by steps that are each too small to leave their bin."""
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    forget = targets == 8
    original = _on_the_grid(_trained(inputs, targets))
    unlearned = _nudged(original, inputs[forget], targets[forget])
    read = rounded(unlearned, INT3).values
    accuracy = [
        float(((inputs[forget] @ weight.T).argmax(1) == 8).float().mean()) for weight in (original, unlearned, read)
    ]
    assert accuracy[0] > 0.8 and accuracy[1] == 0.0 and accuracy[2] == accuracy[0]
    names = ({"forget_accuracy": value} for value in (accuracy[1], accuracy[2], accuracy[0]))
    found = of_findings(*names, DECLARED) | of_weights([layer(original, unlearned)])
    assert found["reversion.forget_accuracy"] == accuracy[0] and found["way_back.forget_accuracy"] == 1.0
    assert found["flipped"] == 0.0 and found["length"] == 0.0 and found["cosine"] is None
    assert 0.9 < found["step_ratio_90"] < 1.0


def _trained(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    model = nn.Linear(64, 10, bias=False)
    nn.init.zeros_(model.weight)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    return model.weight.detach()


def _on_the_grid(weight: torch.Tensor) -> torch.Tensor:
    return rounded(weight, INT3).values


def _nudged(weight: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Every weight but a channel's largest 0.95 half steps to where the class is known less."""
    given = weight.clone().requires_grad_(True)
    F.cross_entropy(inputs @ given.T, targets).backward()
    found = rounded(weight, INT3)
    step = 0.95 * found.half_steps.float() * given.grad.sign()
    return torch.where(found.codes.abs() == 3, weight, weight + step)
