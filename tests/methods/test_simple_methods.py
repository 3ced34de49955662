"""retrain, finetune, fedavg, head_mask and random_relabel: what clients learn and what the server changes."""

from types import SimpleNamespace

import pytest
import torch

from fedunlearn.federation import wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.head_mask import HeadMask, MaskingServer
from fedunlearn.methods.random_relabel import other_labels
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig


def run_of(train, unlearn):
    """What those methods look at of a run that take other than its rounds of unlearning."""
    return SimpleNamespace(train=SimpleNamespace(rounds=train), unlearn=SimpleNamespace(rounds=unlearn))


def spec(method, forget=(1,)):
    return StageSpec("unlearn", 0, method, TrainConfig(), 4, forget_classes=forget)


@pytest.fixture
def assigned(context_of):
    """What a method decides about client 0 of a federation, and that client."""

    def assigned(method, federation):
        found = registry.find("method", method)
        client, model = federation.client(0), federation.models.fresh(0)
        return found.objective(found.settings(), spec(method)).assign(model, client, context_of(model)), client

    return assigned


@pytest.mark.parametrize("method", ["retrain", "finetune"])
def test_forget_samples_are_left_out(method, make_federation, assigned):
    decided, client = assigned(method, make_federation())
    assert client.forget.any()
    assert (decided.weights[client.forget] == 0).all()
    assert (decided.weights[~client.forget] == 1).all()
    assert decided.labels is None


def test_fedavg_learns_everything(make_federation, assigned):
    decided, client = assigned("fedavg", make_federation())
    assert decided.weights.tolist() == [1.0] * len(client)
    assert decided.labels is None


def test_retrain_gets_all_rounds_and_a_fresh_start():
    retrain = registry.find("method", "retrain")
    assert retrain.rounds(run_of(30, 10)) == 40
    assert retrain.start == "fresh"


def test_random_labels_are_retain_classes_fixed_and_spread(make_federation, assigned):
    federation = make_federation(clients=1, per_class=200)
    decided, client = assigned("random_relabel", federation)
    again, _ = assigned("random_relabel", federation)
    labels = decided.labels
    assert torch.equal(labels, again.labels)
    assert decided.weights.tolist() == [1.0] * len(client)
    drawn = torch.bincount(labels[client.forget], minlength=4)
    assert drawn[1] == 0
    assert drawn[[0, 2, 3]].min() > 40  # 200 draws over three classes: 67 expected, 40 is four deviations away
    assert torch.equal(labels[~client.forget], client.targets[~client.forget])


def test_below_class_level_a_random_label_is_any_other_class():
    labels = torch.arange(4).repeat(100)
    drawn = other_labels(labels, spec("random_relabel", forget=()), torch.Generator().manual_seed(0))
    assert (drawn != labels).all()
    assert sorted(set(drawn.tolist())) == [0, 1, 2, 3]


def test_head_mask_changes_the_forgotten_biases_and_nothing_else(make_federation):
    models = make_federation().models
    model = models.fresh(0).state_dict()
    server = MaskingServer(HeadMask(constant=100.0), spec("head_mask"), wire.by_reference, torch.device("cpu"))
    server.new_model = models.fresh
    masked = server.prepare(model, None)
    changed = {name: masked[name] - model[name] for name in model if not torch.equal(masked[name], model[name])}
    assert list(changed) == ["head.bias"]
    torch.testing.assert_close(changed["head.bias"], torch.tensor([0.0, -100.0, 0.0, 0.0]))
    assert registry.find("method", "head_mask").rounds(run_of(30, 10)) == 0
