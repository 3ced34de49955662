import pytest
import torch

from fedunlearn.federation import sgd
from fedunlearn.federation.objective import Assignment, Objective, Passes, everything, retain_only
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import shuffled


def test_batches_cover_every_row_once_and_never_hold_a_single_sample():
    rows = torch.arange(100, 109)
    pieces = list(shuffled(rows, rows, 4, torch.Generator().manual_seed(0)))
    assert [len(piece) for piece in pieces] == [4, 5]
    assert sorted(torch.cat(pieces).tolist()) == rows.tolist()
    assert torch.cat(pieces).tolist() != rows.tolist()


def test_a_client_with_one_sample_trains_on_nothing():
    assert list(shuffled(torch.tensor([7]), torch.tensor([7]), 4, torch.Generator())) == []


@pytest.mark.parametrize("size", [7, 1000])  # many batches, and one that holds all samples
@pytest.mark.parametrize("left_out", [False, True])
def test_batches_hold_what_is_known_of_the_samples_at_their_positions(make_federation, size, left_out):
    client = make_federation(clients=1, forget=(1,)).client(0)
    weights, labels = (~client.forget).float() if left_out else torch.ones(len(client)), client.targets.flip(0)
    decided = Assignment(weights, labels, {"place": torch.arange(len(client))}, plain=not left_out)
    feed = sgd.Feed(client, sgd.assigned(decided, client), TrainConfig(batch_size=size), None)
    seen = []
    for positions, batch in feed.epoch(torch.Generator().manual_seed(0)):
        seen += positions.tolist()
        assert torch.equal(batch.inputs["images"], client.inputs(positions)["images"])
        assert torch.equal(batch.targets, labels[positions])
        assert torch.equal(batch.weights, weights[positions])
        assert torch.equal(batch.beside["place"], positions)
        assert batch.plain is not left_out
    assert sorted(seen) == weights.nonzero()[:, 0].tolist()
    assert (len(batch.targets) == len(seen)) == (size == 1000)


def test_one_step_is_sgd_with_momentum_and_weight_decay(make_federation, context_of):
    federation = make_federation(clients=1)
    client, model = federation.client(0), federation.models.fresh(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = TrainConfig(rounds=1, local_epochs=1, batch_size=1000, lr=0.1, momentum=0.9, weight_decay=0.01)
    x = client.inputs(torch.arange(len(client)))
    loss = torch.nn.functional.cross_entropy(model(x), client.targets)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    outcome = sgd.train(model, client, Objective(everything), context_of(model), training, torch.Generator())
    for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
        expected = before[name] - 0.1 * (gradient + 0.01 * before[name])
        torch.testing.assert_close(model.state_dict()[name], expected, atol=1e-6, rtol=1e-5)
    assert outcome.trained == outcome.processed == len(client)
    assert outcome.loss == pytest.approx(loss.item(), rel=1e-5)


def test_left_out_samples_do_not_influence_training(make_federation, context_of):
    federation = make_federation(clients=1, forget=(1,))
    training = TrainConfig(local_epochs=2, batch_size=5)
    client = federation.client(0)
    first, second = federation.models.fresh(1), federation.models.fresh(1)
    objective = Objective(retain_only)
    outcome = sgd.train(first, client, objective, context_of(first), training, torch.Generator().manual_seed(4))
    federation.train.inputs["images"][client.rows[client.forget]] = 255  # spoil what must not be looked at
    sgd.train(second, client, objective, context_of(second), training, torch.Generator().manual_seed(4))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert outcome.trained == int((~client.forget).sum())
    assert outcome.processed == 2 * outcome.trained


@pytest.mark.parametrize("epochs", [1, 3])
def test_what_is_kept_is_what_the_last_epoch_said(make_federation, context_of, epochs):
    federation = make_federation(clients=1, forget=(1,))
    client, model, said = federation.client(0), federation.models.fresh(1), []

    def keep(outputs):
        said.append(outputs.features.clone())
        return {"features": outputs.features}

    training = TrainConfig(local_epochs=epochs, batch_size=7)
    objective, order = Objective(retain_only, keep=keep), torch.Generator().manual_seed(4)
    passes = sgd.train(model, client, objective, context_of(model), training, order).passes
    retained = (~client.forget).nonzero()[:, 0]
    order.manual_seed(4)
    shuffled = [retained[torch.randperm(len(retained), generator=order)] for _ in range(epochs)]
    assert passes.positions.tolist() == shuffled[-1].tolist()
    assert [len(rows) for rows in said] == [7, 7, 7, 7, 8], "nothing is asked of earlier epochs"
    assert torch.equal(passes.said["features"], torch.cat(said))
    assert not passes.said["features"].requires_grad


def test_without_a_step_or_a_wish_nothing_is_kept(make_federation, context_of):
    federation = make_federation(clients=1)
    model, keep = federation.models.fresh(1), lambda outputs: {"features": outputs.features}
    first = federation.client(0)
    lone = federation.replaced(parts=[federation.parts[0][:1]]).client(0)
    for client, objective in ((first, Objective(everything)), (lone, Objective(everything, keep=keep))):
        outcome = sgd.train(model, client, objective, context_of(model), TrainConfig(), torch.Generator())
        assert outcome.passes is None
    assert Passes.joined([], []) is None


def test_a_check_that_raises_ends_training_and_leaves_nothing_for_the_next_borrower(make_federation, context_of):
    federation, training = make_federation(), TrainConfig(local_epochs=1, batch_size=4)
    client, objective, calls = federation.client(0), Objective(everything), []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise sgd.Interrupted

    def trained(model, check=sgd.never):
        sgd.train(model, client, objective, context_of(model), training, torch.Generator().manual_seed(4), check)
        return model.state_dict()

    used, fresh = federation.models.fresh(0), federation.models.fresh(1)
    loss = torch.nn.functional.cross_entropy(used(client.inputs(torch.arange(4))), client.targets[:4])
    loss.backward()  # as if the last borrower had been interrupted between gradient and step
    with pytest.raises(sgd.Interrupted):
        trained(used, check)
    assert len(calls) == 2
    used.load_state_dict(fresh.state_dict())
    expected = trained(fresh)
    assert all(torch.equal(value, expected[name]) for name, value in trained(used).items())


def test_many_images_are_fetched_batch_by_batch_with_the_same_outcome(make_federation, monkeypatch, context_of):
    federation, training = make_federation(clients=1), TrainConfig(local_epochs=2, batch_size=5)
    outcomes = []
    for limit in (sgd.FETCH_AT_ONCE, 0):
        monkeypatch.setattr(sgd, "FETCH_AT_ONCE", limit)
        model = federation.models.fresh(0)
        order = torch.Generator().manual_seed(4)
        sgd.train(model, federation.client(0), Objective(everything), context_of(model), training, order)
        outcomes.append(model.state_dict())
    for name, value in outcomes[0].items():
        torch.testing.assert_close(value, outcomes[1][name])


@pytest.mark.parametrize("clip", [None, 0.05])
def test_training_is_what_torchs_own_optimiser_does(make_federation, clip, context_of):
    federation = make_federation(clients=1)
    client, model, own = federation.client(0), federation.models.fresh(3), federation.models.fresh(3)
    training = TrainConfig(local_epochs=3, batch_size=7, lr=0.1, momentum=0.9, weight_decay=0.01)
    objective = Objective(everything, clip=clip)
    sgd.train(model, client, objective, context_of(model), training, torch.Generator().manual_seed(4))
    optimiser = torch.optim.SGD(own.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    order = torch.Generator().manual_seed(4)
    for _ in range(3):
        for batch in shuffled(torch.arange(len(client)), client.targets, 7, order):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(own(client.inputs(batch)), client.targets[batch]).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(own.parameters(), clip)
            optimiser.step()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_observe_of_nothing_has_the_right_shape(make_federation):
    federation = make_federation()
    found = sgd.observed(federation.models.fresh(0), federation.client(0), torch.arange(0))
    assert {name: tuple(values.shape) for name, values in found.items()} == {"features": (0, 6), "logits": (0, 4)}
