"""One round's optimiser against those of torch.optim, step by step."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedunlearn.federation.optimiser import Optimiser
from fedunlearn.models.flat import Flat
from fedunlearn.settings.config import TrainConfig


class Branches(nn.Module):
    """Every layer takes part in a step or not; one is frozen, one is tied to another."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))
        self.layers[3].weight = self.layers[0].weight
        self.layers[2].requires_grad_(False)
        self.kernel = nn.Conv2d(2, 3, 2)

    def forward(self, x, taken):
        for layer, is_taken in zip(self.layers, taken, strict=False):
            x = layer(x).tanh() if is_taken else x
        images = x[:, :1, None, None].expand(-1, 2, 3, 3)
        return (x.sum() + self.kernel(images).square().sum()) if taken[-1] else x.sum()


def made():
    torch.manual_seed(1)
    return Branches().to(memory_format=torch.channels_last)


plans = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4)


def torchs_own(training, parameter):
    """With one optimiser for each parameter: together, they begin as one."""
    rates = {"lr": training.lr, "weight_decay": training.weight_decay, "fused": True}
    if training.optimiser == "adamw":
        return torch.optim.AdamW([parameter], betas=(training.momentum, 0.999), **rates)
    return torch.optim.SGD([parameter], momentum=training.momentum, **rates)


@settings(max_examples=60)
@given(plans, st.sampled_from(["sgd", "adamw"]), st.sampled_from([0.0, 0.9]), st.sampled_from([0.0, 0.01]))
def test_any_choice_of_layers_moves_as_under_torchs_own_optimiser(plan, optimiser, momentum, decay):
    training = TrainConfig(optimiser=optimiser, lr=0.1, momentum=momentum, weight_decay=decay)
    plain, flat = made(), Flat(made())
    ours = Optimiser(dict(flat.model.named_parameters()))
    for client in range(2):  # the second one must not notice the first one's momentum
        ours.begin()
        start = copy.deepcopy(made().state_dict())
        plain.load_state_dict(start)
        flat.load(flat.layout.vectors(start, torch.device("cpu")))
        theirs = [torchs_own(training, parameter) for parameter in plain.parameters()]
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(client))
        for taken in plan:
            if not any(taken[i] for i in (0, 1, 3, 4)):
                continue  # there would be no gradient at all
            plain.zero_grad()
            for model in (plain, flat.model):
                model(x, taken).backward()
            for each in theirs:
                each.step()
            ours.step(training)
            assert all(parameter.grad is None for parameter in flat.model.parameters())
            assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), flat.model.parameters(), strict=True))


def test_parameters_of_two_types_move_together():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).double()])
    optimiser = Optimiser(dict(model.named_parameters()))
    optimiser.begin()
    before = copy.deepcopy(model.state_dict())
    sum(parameter.double().sum() for parameter in model.parameters()).backward()
    optimiser.step(TrainConfig(lr=0.5, momentum=0.9, weight_decay=0.0))
    assert all(torch.equal(value, before[name] - 0.5) for name, value in model.state_dict().items())


def test_gradients_that_were_left_behind_do_not_count():
    model = nn.Linear(2, 1)
    optimiser = Optimiser(dict(model.named_parameters()))
    model(torch.ones(1, 2)).backward()
    optimiser.begin()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_first_step_of_adamw_is_as_long_as_the_rate_whatever_the_gradient():
    model = nn.Linear(2, 1, bias=False)
    optimiser, before = Optimiser(dict(model.named_parameters())), model.weight.detach().clone()
    optimiser.begin()
    model.weight.grad = torch.tensor([[3.0, -0.02]])
    optimiser.step(TrainConfig(optimiser="adamw", lr=0.1, weight_decay=0.5))
    torch.testing.assert_close(model.weight, 0.95 * before + torch.tensor([[-0.1, 0.1]]))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_without_gradients_moves_nothing(momentum):
    model = nn.Linear(2, 1)
    before = copy.deepcopy(model.state_dict())
    optimiser = Optimiser(dict(model.named_parameters()))
    optimiser.begin()
    optimiser.step(TrainConfig(momentum=momentum, weight_decay=0.1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
