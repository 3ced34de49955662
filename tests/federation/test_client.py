"""A client's answer, against a plain loop; and what is kept from message to message."""

from threading import Event

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict
from torch import nn

from fedunlearn.engines.grid import LocalGrid, Threads, answers
from fedunlearn.errors import RunError
from fedunlearn.federation import wire
from fedunlearn.federation.client import Briefings, client_app
from fedunlearn.federation.pool import ModelPool
from fedunlearn.federation.spec import StageSpec, Variant
from fedunlearn.federation.strategy import UnlearningStrategy, server_app
from fedunlearn.models.base import Network
from fedunlearn.randomness import torch_stream
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import shuffled

CPU = torch.device("cpu")
SPEC = StageSpec("train", 3, "fedavg", TrainConfig(2, 2, 5, lr=0.1, momentum=0.9, weight_decay=0.01), 4)


def network(seed):
    """A convolution in channels-last memory, batch normalisation with its counter, a frozen layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 2)
        layers = [first, nn.BatchNorm2d(4), nn.ReLU(), second, nn.Flatten(), nn.Linear(3, 6), nn.ReLU()]
        layers[5].requires_grad_(False)
        return Network(nn.Sequential(*layers), nn.Linear(6, 4), channels_last=True)


@pytest.fixture
def federation(make_federation):
    made = make_federation(clients=3)
    made.models = ModelPool(network, CPU)
    return made


def grid_of(federation, workers):
    return LocalGrid(Threads(answers(client_app(lambda: federation, wire.by_reference)), workers, Event()), 3)


def rounds(federation, spec=SPEC, workers=2, strategy=UnlearningStrategy):
    """The models before and after every round."""
    server, states = strategy(None, spec, wire.by_reference, CPU), []
    model = federation.models.fresh(7).state_dict()
    app = server_app(server, model, spec.training.rounds, False, lambda number, state: states.append(state))
    with grid_of(federation, workers) as grid:
        app(grid, Context(1, 1, {}, RecordDict(), {}))
    return server, states


def by_hand(federation, state, number):
    """A round of plain PyTorch: load_state_dict, torch.optim.SGD, an average in double precision."""
    states, weights = [], []
    for client in map(federation.client, range(3)):
        model = federation.models.fresh(0)
        model.load_state_dict(state)
        model.train()
        training, inputs = SPEC.training, client.inputs(torch.arange(len(client)))["images"]
        moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.SGD(moving, lr=0.1, momentum=0.9, weight_decay=0.01, fused=True)
        order = torch_stream(SPEC.seed, SPEC.stage, "batches", number, client.number)
        for _ in range(training.local_epochs):
            for batch in shuffled(torch.arange(len(client)), client.targets, training.batch_size, order):
                optimiser.zero_grad()
                losses = nn.functional.cross_entropy(
                    model({"images": inputs[batch]}), client.targets[batch], reduction="none"
                )
                (losses.dot(torch.ones(len(batch))) / torch.tensor(len(batch))).backward()
                optimiser.step()
        states.append(model.state_dict())
        weights.append(len(client))
    sums = {name: sum(w * s[name].double() for w, s in zip(weights, states, strict=True)) for name in state}
    means = {name: value / sum(weights) for name, value in sums.items()}
    return {
        name: (value if state[name].is_floating_point() else value.round()).to(state[name].dtype)
        for name, value in means.items()
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_rounds_are_those_of_a_plain_loop(federation, workers):
    _, states = rounds(federation, workers=workers)
    for number in (1, 2):
        expected = by_hand(federation, states[number - 1], number)
        assert states[number].keys() == expected.keys()
        assert all(torch.equal(states[number][name], value) for name, value in expected.items())
    frozen, counter = "encoder.5.weight", "encoder.1.num_batches_tracked"
    assert torch.equal(states[2][frozen], states[0][frozen])
    assert states[2][counter].item() > states[1][counter].item() > 0 and states[2][counter].dtype == torch.int64


class Listener(UnlearningStrategy):
    def __init__(self, *given):
        super().__init__(*given)
        self.heard = []

    def on_client_model(self, client, model, weight):
        self.heard.append((client, model, weight))


def test_a_method_that_listens_hears_named_tensors(federation):
    server, states = rounds(federation, strategy=Listener)
    assert [client for client, _, _ in server.heard] == [0, 1, 2] * 2
    _, models, weights = zip(*server.heard[:3], strict=True)
    name = "encoder.0.weight"
    mean = sum(w * m[name].double() for m, w in zip(models, weights, strict=True)) / sum(weights)
    torch.testing.assert_close(states[1][name], mean.float())
    assert models[0].keys() == states[0].keys()


def test_bytes_are_those_of_the_tensors(federation):
    server, states = rounds(federation)
    whole = sum(value.nbytes for value in states[0].values())
    assert (server.cost.bytes_down, server.cost.bytes_up) == (6 * whole, 6 * whole)


def message(federation, **changed):
    layout = federation.models.layout
    server = UnlearningStrategy(None, SPEC, wire.by_reference, CPU)
    server.layout = layout
    task = {"round": 1, **changed}
    return server._content(SPEC, {"model": layout.vectors(federation.models.fresh(1).state_dict(), CPU)}, **task)


def test_one_content_is_unpacked_once_and_another_one_again(federation):
    briefings, first, second = Briefings(), message(federation), message(federation)
    assert briefings.of(first, federation) is briefings.of(first, federation)
    assert briefings.of(second, federation) is not briefings.of(first, federation)
    assert briefings.of(message(federation, round=2), federation).round == 2


def test_a_model_that_is_laid_out_otherwise_is_refused(federation):
    content = message(federation, layout="other")
    with pytest.raises(ValueError, match="the server's model has other tensors than this client's"):
        Briefings().of(content, federation)


def test_a_server_whose_model_lies_otherwise_stops_at_the_first_round(federation):
    contiguous = {name: value.contiguous() for name, value in federation.models.fresh(7).state_dict().items()}
    server = UnlearningStrategy(None, SPEC, wire.by_reference, CPU)
    app = server_app(server, contiguous, 1, False, lambda number, state: None)
    with (
        grid_of(federation, 1) as grid,
        pytest.raises(RunError, match="other tensors than this client's"),
    ):
        app(grid, Context(1, 1, {}, RecordDict(), {}))


def test_a_stored_model_is_arranged_as_those_of_the_pool(federation):
    stored = {name: value.contiguous() for name, value in federation.models.fresh(7).state_dict().items()}
    arranged = federation.models.arranged(stored)
    assert all(torch.equal(arranged[name], value) for name, value in stored.items())
    assert arranged["encoder.3.weight"].stride() == federation.models.fresh(0).encoder[3].weight.stride()


def test_clients_hold_what_the_partition_says(federation):
    federation.parts[1] = np.array([], dtype=np.int64)
    for number, part in enumerate(federation.parts):
        client = federation.client(number)
        assert client.rows.tolist() == part.tolist()
        assert client.targets.tolist() == federation.train.targets[client.rows].tolist()
        assert client.groups.tolist() == federation.train.groups[client.rows].tolist()
        assert client.forget.tolist() == federation.request.forget[client.rows].tolist()
    variant = federation.of_variant(Variant("shadow", 0))
    held = [variant.client(number) for number in range(3)]
    assert [client.rows.tolist() for client in held] == [part.tolist() for part in variant.parts]
    assert (
        sum(int(client.forget.sum()) for client in held)
        == federation.request.forget[np.concatenate(variant.parts)].sum()
    )
