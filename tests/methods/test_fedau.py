"""FedAU: the auxiliary head's targets, one step of it by hand, and how it is combined with the original head."""

from dataclasses import replace

import pytest
import torch
from flwr.app import ConfigRecord, RecordDict

from fedunlearn.federation import sgd, wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.fedau import AuxiliaryServer, FedAU, frozen_encoder, objective
from fedunlearn.models.base import Network
from fedunlearn.settings.config import TrainConfig

TRAINING = TrainConfig(local_epochs=1, batch_size=100, lr=0.3, momentum=0.0, weight_decay=0.0)
PLAN = StageSpec("unlearn", 0, "fedau", TRAINING, 3, forget_classes=(1,))
BELOW = replace(PLAN, level="sample", forget_classes=())


def small_model(seed=0):
    return Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)), torch.nn.Linear(2, 3))


def server(spec=PLAN, share=0.9):
    strategy = AuxiliaryServer(FedAU(share=share), spec, wire.by_reference, torch.device("cpu"))
    strategy.new_model = small_model
    return strategy


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_one_round_at_class_level_by_hand(make_federation, context_of):
    client = make_federation(clients=1, classes=3).client(0)
    model = small_model()
    original = state(model)
    method = server()
    method.prepare(original, [None] * 5)
    model.load_state_dict(method.before_round(1, original))
    assert not model.head.weight.any() and not model.head.bias.any()
    with torch.no_grad():
        mean = model.features(client.inputs(torch.arange(len(client)))).mean(0)
    sgd.train(model, client, objective(FedAU(), PLAN), context_of(model), TRAINING, torch.Generator())
    combined = method.after_round(1, state(model))
    # from a zero head p = 1/3 everywhere: the forgotten row gains lr · 2/3 · mean(z), the others lose half as much
    step = torch.tensor([-0.1, 0.2, -0.1])
    torch.testing.assert_close(combined["head.weight"], original["head.weight"] - step[:, None] * mean)
    torch.testing.assert_close(combined["head.bias"], original["head.bias"] - step)
    assert torch.equal(combined["encoder.1.weight"], original["encoder.1.weight"])


def test_at_class_level_no_comparison_between_retain_classes_changes(make_federation, context_of):
    federation = make_federation(clients=1)
    client, model = federation.client(0), federation.models.fresh(3)
    model.head.bias.data[1] += 0.3  # so that the forgotten class is predicted at all
    spec = replace(PLAN, classes=4)
    method = server(spec)
    current = method.prepare(state(model), [])
    before = sgd.observed(model, client, torch.arange(len(client)))["logits"]
    for number in (1, 2):
        model.load_state_dict(method.before_round(number, current))
        training = replace(TRAINING, local_epochs=20, batch_size=8, momentum=0.9, weight_decay=0.01)
        sgd.train(model, client, objective(FedAU(), spec), context_of(model), training, torch.Generator())
        current = method.after_round(number, state(model))
    model.load_state_dict(current)
    after = sgd.observed(model, client, torch.arange(len(client)))["logits"]
    retain = [0, 2, 3]
    shift = (after - before)[:, retain]
    torch.testing.assert_close(shift, shift[:, :1].expand(-1, 3), atol=1e-4, rtol=1e-4)
    assert ((after - before)[:, 1] < shift[:, 0]).all()
    assert (before.argmax(1) == 1).any() and not (after.argmax(1) == 1).any()


def test_below_class_level_the_heads_are_mixed():
    original = {"head.weight": torch.ones(3, 2), "head.bias": torch.zeros(3), "encoder.w": torch.ones(1)}
    method = server(BELOW, share=0.25)
    method.prepare(original, [])
    assert torch.equal(method.before_round(1, original)["head.weight"], original["head.weight"])
    trained = {"head.weight": torch.full((3, 2), 5.0), "head.bias": torch.full((3,), 4.0), "encoder.w": torch.zeros(1)}
    mixed = method.after_round(1, trained)
    assert torch.equal(mixed["head.weight"], torch.full((3, 2), 2.0))  # 0.75 · 1 + 0.25 · 5
    assert torch.equal(mixed["head.bias"], torch.ones(3))
    assert torch.equal(mixed["encoder.w"], torch.ones(1))
    assert torch.equal(method.before_round(2, mixed)["head.weight"], trained["head.weight"])


def test_targets(make_federation, context_of):
    federation = make_federation()
    client, model = federation.client(0), federation.models.fresh(0)
    two = replace(PLAN, classes=4, forget_classes=(1, 3))
    found = objective(FedAU(), two).assign(model, client, context_of(model)).labels
    assert torch.equal(found, torch.tensor([0.0, 0.5, 0.0, 0.5]).expand(len(client), 4))
    labels = objective(FedAU(), replace(BELOW, classes=4)).assign(model, client, context_of(model)).labels
    assert torch.equal(labels[~client.forget], client.targets[~client.forget])
    assert client.forget.any() and (labels[client.forget] != client.targets[client.forget]).all()


def test_the_encoder_does_not_move(context_of):
    context = context_of(small_model())
    values = {name: torch.full_like(value, 9.0) for name, value in context.received.items()}
    kept = frozen_encoder(values, context)
    assert torch.equal(kept["encoder.1.weight"], context.received["encoder.1.weight"])
    assert (kept["head.weight"] == 9).all() and (kept["head.bias"] == 9).all()


@pytest.mark.parametrize("spec", [PLAN, BELOW])
def test_only_heads_travel_after_the_encoder_went_out_once(spec):
    model = {"head.weight": torch.ones(3, 2), "head.bias": torch.zeros(3), "encoder.w": torch.ones(100)}
    method = server(spec)
    method.prepare(model, [None] * 7)
    assert method.cost.bytes_down == 7 * 400
    message = RecordDict({"model": wire.by_reference(model), "task": ConfigRecord({})})
    assert method.payload(message) == (6 + 3) * 4
