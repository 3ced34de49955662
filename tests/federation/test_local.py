import pytest
import torch

from fedunlearn.config import TrainConfig
from fedunlearn.federation import local
from fedunlearn.federation.objective import Objective, cross_entropy, retain_labels, true_labels


def test_batches_cover_every_row_once_and_never_hold_a_single_sample():
    rows = torch.arange(100, 109)
    pieces = list(local.batches(rows, 4, torch.Generator().manual_seed(0)))
    assert [len(piece) for piece in pieces] == [4, 5]
    assert sorted(torch.cat(pieces).tolist()) == rows.tolist()
    assert torch.cat(pieces).tolist() != rows.tolist()


def test_a_client_with_one_sample_trains_on_nothing():
    assert list(local.batches(torch.tensor([7]), 4, torch.Generator())) == []


def test_one_step_is_sgd_with_momentum_and_weight_decay(make_world):
    world = make_world(clients=1)
    client, model = world.client(0), world.fresh_model(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = TrainConfig(rounds=1, local_epochs=1, batch_size=1000, lr=0.1, momentum=0.9, weight_decay=0.01)
    x = client.images(torch.arange(len(client)))
    loss = torch.nn.functional.cross_entropy(model(x), client.labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    outcome = local.train(model, client, Objective(true_labels, cross_entropy), {}, training, torch.Generator())
    for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
        expected = before[name] - 0.1 * (gradient + 0.01 * before[name])
        torch.testing.assert_close(model.state_dict()[name], expected, atol=1e-6, rtol=1e-5)
    assert outcome.trained == outcome.processed == len(client)
    assert outcome.loss == pytest.approx(loss.item(), rel=1e-5)


def test_left_out_samples_do_not_influence_training(make_world):
    world = make_world(clients=1, forget=(1,))
    training = TrainConfig(local_epochs=2, batch_size=5)
    client = world.client(0)
    first, second = world.fresh_model(1), world.fresh_model(1)
    objective = Objective(retain_labels, cross_entropy)
    outcome = local.train(first, client, objective, {}, training, torch.Generator().manual_seed(4))
    world.train.images[client.index[client.forget]] = 255  # spoil what must not be looked at
    local.train(second, client, objective, {}, training, torch.Generator().manual_seed(4))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert outcome.trained == int((~client.forget).sum())
    assert outcome.processed == 2 * outcome.trained


def test_stopping_ends_in_the_middle_of_an_epoch(make_world):
    client = make_world().client(0)
    with pytest.raises(local.Interrupted):
        local.train(
            make_world().fresh_model(0),
            client,
            Objective(true_labels, cross_entropy),
            {},
            TrainConfig(),
            torch.Generator(),
            lambda: True,
        )


def test_observe_of_nothing_has_the_right_shape(make_world):
    world = make_world()
    features, logits = local.observe(world.fresh_model(0), world.client(0), torch.arange(0))
    assert features.shape == (0, 6)
    assert logits.shape == (0, 4)
