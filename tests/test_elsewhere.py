"""The device that is not there: what would fail on a GPU fails, and what would work there works."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from tests import elsewhere
from tests.elsewhere import DEVICE, is_there


@pytest.fixture(autouse=True)
def entered():
    with elsewhere.entered():
        yield


def test_tensors_say_where_they_are_and_stay_there():
    x = torch.zeros(3, device="cuda")
    assert x.device == DEVICE and x.is_cuda and is_there(x)
    for made in (
        x + 1,
        x[1:],
        x[[0, 1]],
        torch.zeros_like(x),
        x.double(),
        x.new_ones(2),
        nn.functional.one_hot(x.long()),
    ):
        assert made.device == DEVICE
    assert x.cpu().device.type == "cpu" and torch.zeros(3, device=x.device).device == DEVICE
    assert torch.ones(3).device.type == "cpu" and torch.ones(3).to(x.device).device == DEVICE
    kept = torch.ones(3)
    assert torch.as_tensor(kept, device=DEVICE).device == DEVICE and kept.device.type == "cpu"


MIXED = {
    "a sum": lambda x, y: x + y,
    "a product": lambda x, y: y.view(1, 3) @ x.view(3, 1),
    "a join": lambda x, y: torch.cat([x, y]),
    "in place": lambda x, y: y.add_(x),
    "positions from elsewhere": lambda x, y: y[x.long()],
    "values from here": lambda x, y: x.index_put_((torch.arange(3),), y),
    "numbers of it": lambda x, y: x.numpy(),
    "a generator": lambda x, y: torch.randperm(3, generator=torch.Generator(), device=x.device),
    "a single number from elsewhere": lambda x, y: y + x.sum(),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_mixes_places_fails(name):
    with pytest.raises((RuntimeError, TypeError)):
        MIXED[name](torch.zeros(3, device="cuda"), torch.ones(3))


def test_what_may_be_mixed_works():
    x, y = torch.zeros(3, device="cuda"), torch.ones(3)
    assert (x + torch.tensor(2.0)).device == DEVICE
    assert x[torch.arange(2)].device == DEVICE and x.copy_(y).device == DEVICE and y.copy_(x).device.type == "cpu"
    x[torch.tensor([True, False, True])] = 5.0
    assert x.tolist() == [5, 1, 5] and x.sum().item() == 11 and x.cpu().numpy().sum() == 11


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 4)).to(DEVICE)


def test_models_learn_there():
    model, images = network(), torch.rand(5, 1, 4, 4)
    assert all(tensor.device == DEVICE for tensor in model.state_dict().values())
    with pytest.raises(RuntimeError, match="same device"):
        model(images)
    labels = torch.tensor([0, 1, 2, 3, 0])
    loss = nn.functional.cross_entropy(model(images.to(DEVICE)), labels.to(DEVICE))
    loss.backward()
    assert all(parameter.grad.device == DEVICE for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="same device"):
        nn.functional.cross_entropy(model(images.to(DEVICE)), labels)


def test_vectorised_steps_are_watched_too():
    layer = network()[3]
    stack = {name: torch.stack([value.detach()] * 2) for name, value in layer.named_parameters()}

    def loss(weights, rows, place):
        assert rows.device == DEVICE
        return (functional_call(layer, weights, (rows,)) * torch.ones(1, 4, device=place)).square().mean()

    step, rows = vmap(grad(loss), in_dims=(0, None, None)), torch.rand(3, 8, device=DEVICE)
    assert all(slope.device == DEVICE for slope in step(stack, rows, rows.device).values())
    with pytest.raises(RuntimeError, match="same device"):
        step(stack, rows, "cpu")
