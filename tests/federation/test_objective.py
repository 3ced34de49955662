"""What a client's loss may know of the model that it received, in the reference loop and in a stack."""

import pytest
import torch
from torch import nn

from fedunlearn.engines import stacking
from fedunlearn.federation import sgd
from fedunlearn.federation.objective import Objective, everything, task_loss
from fedunlearn.models.base import Network
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch

TRAINING = TrainConfig(local_epochs=3, batch_size=7, lr=0.1, momentum=0.9, weight_decay=0.0)
PULL = 0.8  # mu of FedProx


def batch_of(client):
    rows = torch.arange(len(client))
    return Batch(client.inputs(rows), client.targets, torch.ones(len(client)))


def test_what_the_received_model_says_does_not_move_with_the_model(make_federation, context_of):
    federation = make_federation(clients=1)
    client, model = federation.client(0), federation.models.fresh(0)
    context, batch = context_of(model), batch_of(client)
    before = model(batch.inputs).detach()
    sgd.train(model, client, Objective(everything), context, TRAINING, torch.Generator().manual_seed(0))
    moved = {name: value.clone() for name, value in model.state_dict().items()}
    said = context.said(batch)
    torch.testing.assert_close(said.logits, before)
    assert not said.logits.requires_grad
    assert not torch.allclose(model(batch.inputs), before)
    assert all(torch.equal(value, moved[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_it_leaves_the_mode_and_running_statistics_alone(make_federation, context_of, training):
    model = Network(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16)), nn.Linear(16, 4))
    context, batch = context_of(model), batch_of(make_federation(clients=1).client(0))
    model.train(training)
    context.said(batch)
    assert model.training is training and model.encoder[1].training is training
    found = model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in context.received.items())
    torch.testing.assert_close(context.said(batch).logits, model.eval()(batch.inputs).detach())


def proximal(outputs, batch, context):
    """FedProx (Li et al., MLSys 2020) with the way gone so far as the current parameters say."""
    now = dict(context.model.named_parameters())
    way = sum((now[name] - context.received[name]).square().sum() for name in now)
    return task_loss(outputs, batch, context) + PULL / 2 * way


def pulled_back(values, context):
    """The same pull as a step after the step: halfway back to what was received."""
    return {name: context.received[name] + 0.5 * (value - context.received[name]) for name, value in values.items()}


def distance(model, context):
    return sum((v - context.received[n]).square().sum().item() for n, v in model.named_parameters()) ** 0.5


@pytest.mark.parametrize("objective", [Objective(everything, proximal), Objective(everything, constrain=pulled_back)])
def test_a_proximal_objective_stays_nearer_to_what_was_received(make_federation, context_of, objective):
    federation = make_federation(clients=1)
    found = []
    for chosen in (Objective(everything), objective):
        model = federation.models.fresh(0)
        context = context_of(model)
        sgd.train(model, federation.client(0), chosen, context, TRAINING, torch.Generator().manual_seed(0))
        found.append(distance(model, context))
    assert 0 < found[1] < 0.9 * found[0]


def distilled(outputs, batch, context):
    known = context.said(batch).logits.softmax(1)
    return -(known * outputs.logits.log_softmax(1)).sum(1).mul(batch.weights).sum() / (batch.weights != 0).sum()


def both(outputs, batch, context):
    return task_loss(outputs, batch, context) + distilled(outputs, batch, context)


@pytest.mark.parametrize(
    "objective",
    [
        Objective(everything, both),
        Objective(everything, constrain=pulled_back),
        Objective(everything, proximal),
    ],
    ids=["distillation", "constraint", "proximal loss"],
)
def test_a_stack_agrees_with_the_reference(make_federation, context_of, objective):
    federation = make_federation(clients=3)
    received = {name: value.clone() for name, value in federation.models.fresh(7).state_dict().items()}
    expected, portions = [], []
    for number in range(3):
        client, model = federation.client(number), federation.models.fresh(7)
        context, orders = context_of(model), [torch.Generator().manual_seed(number) for _ in range(2)]
        portions.append(stacking.portion(client, objective.assign(model, client, context), TRAINING, orders[0]))
        sgd.train(model, client, objective, context, TRAINING, orders[1])
        expected.append(model.state_dict())
    gradients = stacking.Gradients(federation.models.fresh(0), federation.task, objective)
    trained = stacking.train(gradients, portions, gradients.context(1, {}, received), TRAINING)
    for (state, _), reference in zip(trained, expected, strict=True):
        for name, value in reference.items():
            torch.testing.assert_close(state[name], value, atol=1e-4, rtol=0)
