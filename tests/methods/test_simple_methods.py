"""retrain, finetune, fedavg, head_mask and random_relabel: what clients learn and what the server changes."""

import pytest
import torch

from fedunlearn.federation import wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.head_mask import HeadMask, MaskingServer
from fedunlearn.methods.random_relabel import other_labels
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig


def spec(method, forget=(1,)):
    return StageSpec("unlearn", 0, method, TrainConfig(), 4, forget_classes=forget)


def targets(method, federation, settings=None):
    found = registry.find("method", method)
    client = federation.client(0)
    work = found.objective(settings or found.settings(), spec(method))
    return work.targets(federation.models.fresh(0), client, {}), client


@pytest.mark.parametrize("method", ["retrain", "finetune"])
def test_forget_samples_are_left_out(method, make_federation):
    labels, client = targets(method, make_federation())
    assert (labels[client.forget] == -1).all()
    assert torch.equal(labels[~client.forget], client.targets[~client.forget])


def test_fedavg_learns_everything(make_federation):
    labels, client = targets("fedavg", make_federation())
    assert torch.equal(labels, client.targets)


def test_retrain_gets_all_rounds_and_a_fresh_start():
    retrain = registry.find("method", "retrain")
    assert retrain.rounds(30, 10) == 40
    assert retrain.start == "fresh"


def test_random_labels_are_retain_classes_fixed_and_spread(make_federation):
    federation = make_federation(clients=1, per_class=200)
    labels, client = targets("random_relabel", federation)
    again, _ = targets("random_relabel", federation)
    assert torch.equal(labels, again)
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
    model = make_federation().models.fresh(0).state_dict()
    server = MaskingServer(spec("head_mask"), HeadMask(constant=100.0), wire.by_reference, torch.device("cpu"))
    masked = server.prepare(model, None)
    changed = {name: masked[name] - model[name] for name in model if not torch.equal(masked[name], model[name])}
    assert list(changed) == ["head.bias"]
    torch.testing.assert_close(changed["head.bias"], torch.tensor([0.0, -100.0, 0.0, 0.0]))
    assert registry.find("method", "head_mask").rounds(30, 10) == 0
