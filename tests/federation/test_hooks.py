"""Hooks by which a method changes what its server counts and hears, and what its clients keep and train on."""

from dataclasses import replace
from threading import Event

import pytest
import torch
from flwr.app import Context, RecordDict

from fedunlearn.engines.grid import LocalGrid, Threads, answers
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app
from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Objective, everything
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import UnlearningStrategy, server_app
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig

TRAINING = TrainConfig(rounds=2, local_epochs=1, batch_size=100, lr=0.1, momentum=0.0, weight_decay=0.0)
PLAN = StageSpec("train", 0, "probe", TRAINING, 4)


def count_calls(model, client, settings, spec):
    client.memory["calls"] = client.memory.get("calls", torch.zeros(())) + 1
    return {"calls": client.memory["calls"]}


def first_two(model, client):
    client.memory["calls"] = client.memory.get("calls", torch.zeros(())) + 1
    return replace(client, **{name: getattr(client, name)[:2] for name in ("rows", "targets", "groups", "forget")})


OBJECTIVE = Objective(
    everything,
    uploads=lambda model, client, context: {"calls": client.memory["calls"], "held": torch.tensor(float(len(client)))},
    substitute=first_two,
)
PROBE = Method("probe", NoSettings, lambda settings, spec: OBJECTIVE, queries={"count": count_calls})


@pytest.fixture
def run(make_federation, monkeypatch):
    """Run the stage of a server on a federation of three clients."""
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: PROBE if name == "probe" else find(kind, name))

    def go(strategy, rounds=2):
        federation = make_federation(clients=3)
        model = federation.models.fresh(0).state_dict()
        app = server_app(strategy, model, rounds, False, lambda number, state: None)
        with LocalGrid(Threads(answers(client_app(lambda: federation, wire.by_reference)), 2, Event()), 3) as grid:
            app(grid, Context(1, 1, {}, RecordDict(), {}))
        return federation, model

    return go


class Listener(UnlearningStrategy):
    """Remembers what it was told; asks every client twice."""

    def prepare(self, model, clients):
        self.told, self.totals, self.clients = [], [], len(clients)
        self.asked = [clients.total("count", model)["calls"].item() for _ in range(2)]
        return model

    def on_client_model(self, client, model, weight):
        self.told.append((client, weight, model["head.bias"]))

    def on_totals(self, totals):
        self.totals.append({name: value.item() for name, value in totals.items()})


def test_memory_stays_with_the_client_through_queries_and_rounds(run):
    server = Listener(None, PLAN, wire.by_reference, torch.device("cpu"))
    run(server)
    assert server.clients == 3
    assert server.asked == [3, 6]
    assert [totals["calls"] for totals in server.totals] == [9, 12]


def test_clients_train_on_the_substitute_and_report_on_their_own_data(run):
    server = Listener(None, PLAN, wire.by_reference, torch.device("cpu"))
    run(server)
    assert [weight for _, weight, _ in server.told] == [2.0] * 6
    assert server.totals[0]["held"] == 48


def test_the_server_hears_every_model_before_the_average(run):
    server = Listener(None, PLAN, wire.by_reference, torch.device("cpu"))
    averages = []
    server.after_round = lambda number, model: averages.append(model["head.bias"]) or model
    run(server)
    assert [client for client, _, _ in server.told] == [0, 1, 2, 0, 1, 2]
    torch.testing.assert_close(torch.stack([bias for _, _, bias in server.told[:3]]).mean(0), averages[0])
    assert len({tuple(bias.tolist()) for _, _, bias in server.told[:3]}) == 3


def test_traffic_is_what_the_method_says_it_is(run):
    honest = UnlearningStrategy(None, PLAN, wire.by_reference, torch.device("cpu"))
    thrifty = UnlearningStrategy(None, PLAN, wire.by_reference, torch.device("cpu"))
    thrifty.payload = lambda content: 7
    _, model = run(honest)
    run(thrifty)
    whole = sum(value.numel() * 4 for value in model.values())
    assert (honest.cost.bytes_down, honest.cost.bytes_up) == (6 * whole, 6 * (whole + 8))
    assert (thrifty.cost.bytes_down, thrifty.cost.bytes_up) == (42, 42)


class Slower(UnlearningStrategy):
    """Halves the learning rate, and asks the clients in the middle of a round."""

    def before_round(self, number, model):
        self.notes[f"calls in round {number}"] = self.clients.total("count", model)["calls"].item()
        return model

    def training(self, number):
        return replace(TRAINING, lr=TRAINING.lr / 2)


def test_a_method_sets_the_pace_of_a_round_and_asks_clients_in_the_middle_of_it(run):
    moves = []
    for kind in (UnlearningStrategy, Slower):
        server, heard = kind(None, PLAN, wire.by_reference, torch.device("cpu")), []
        server.on_client_model = lambda client, model, weight, heard=heard: heard.append(model["head.bias"])
        _, model = run(server)
        moves.append(heard[0] - model["head.bias"])
    torch.testing.assert_close(moves[1], moves[0] / 2)
    assert server.notes == {"calls in round 1": 3.0, "calls in round 2": 9.0}
