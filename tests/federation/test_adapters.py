"""Adapters from the server's message to the average of what clients send, against whole models merged by hand."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.data.types import Dataset, Normaliser, Request, labelled_images
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.engines.local import Local
from fedunlearn.engines.stacked import Stacked
from fedunlearn.errors import RequestError
from fedunlearn.federation import adaptable, adapters
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Objective, everything
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import UnlearningStrategy
from fedunlearn.models.base import Network, build
from fedunlearn.models.language import DecoderSettings
from fedunlearn.models.lora import Lora, matrices
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig
from fedunlearn.settings.schema import plain

AGGREGATIONS = ["product", "ffa", "fedex", "naive"]
PACE = TrainConfig(rounds=2, local_epochs=2, batch_size=8, lr=0.2)
ADAPTED = ("encoder.0.weight", "encoder.3.weight", "encoder.5.weight", "encoder.7.weight", "head.weight")


def network(seed: int) -> Network:
    """Convolutions (one of them square as a matrix), batch norm, and linear layers, square and not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        convolutions = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.Flatten()]
        return Network(
            nn.Sequential(*convolutions, nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU()), nn.Linear(7, 4)
        )


@pytest.fixture
def federation():
    stream = np.random.default_rng(0)
    labels = torch.from_numpy(stream.integers(0, 4, 60))
    images = labelled_images(torch.from_numpy(stream.integers(0, 256, (60, 1, 4, 4)).astype(np.uint8)), labels)
    dataset = Dataset("noise", images, images, ("a", "b", "c", "d"), Normaliser((0.5,), (0.3,)), "noise")
    parts = np.split(np.arange(60), [10, 30])
    wanted = Request("class", (labels == 1).numpy(), (1,))
    return Federation(dataset, parts, wanted, network, torch.device("cpu"), 0)


class Listening(UnlearningStrategy):
    """Keeps what it is told of the clients' models and their average."""

    def before_round(self, number, model):
        self.notes.setdefault("sent", []).append(model)
        return model

    def on_client_model(self, client, model, weight):
        self.notes.setdefault("clients", []).append((model, weight))

    def on_totals(self, totals):
        self.notes.setdefault("uploads", []).append(totals)

    def after_round(self, number, model):
        self.notes.setdefault("averages", []).append(model)
        return model


def weights(model, client, context):
    """What a client says that its model is after training."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if name in ADAPTED}


@pytest.fixture
def listening(monkeypatch):
    objective = Objective(everything, uploads=weights)
    member = Method("listening", NoSettings, lambda settings, spec: objective, strategy=Listening)
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: member if name == "listening" else find(kind, name))
    return "listening"


def stage(federation, method, adapter, pace=PACE, engine=None, begin=None, rounds=None, say=print):
    spec = StageSpec("unlearn", 3, method, pace, 4, forget_classes=(1,), adapter=adapter)
    settings = registry.find("method", method).settings()
    spec = replace(spec, settings=plain(settings) or {})
    begin = begin or Progress({name: value.clone() for name, value in network(5).state_dict().items()})
    seen = []
    config = SimpleNamespace(engine=engine or Choice("local", Local(workers=1)), train=pace)
    run_stage(spec, begin, rounds or pace.rounds, federation, config, seen.append, say=say)
    return seen


def mean(pairs, name):
    total = sum(weight for _, weight in pairs)
    return sum(weight / total * model[name].double() for model, weight in pairs)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_all_but_naive_make_the_average_of_the_merged_models(federation, listening, aggregation):
    notes = stage(federation, listening, Lora(rank=3, alpha=5.0, aggregation=aggregation))[-1].notes
    assert [weight for _, weight in notes["clients"]] == [10, 20, 30] * 2
    worst = []
    for number, average in enumerate(notes["averages"]):
        clients, sent = notes["clients"][3 * number : 3 * number + 3], notes["sent"][number]
        for name in ADAPTED:
            update = (average[name] - sent[name]).flatten(1)
            assert update.norm() > 0
            worst.append(float((mean(clients, name) - average[name].double()).abs().max()))
            said = sum(model[name].double() for model, _ in clients)
            torch.testing.assert_close(notes["uploads"][number][name], said, atol=1e-6, rtol=0, msg="server = clients")
    if aggregation == "naive":
        assert min(worst) > 1e-5, "the mean of B times the mean of A is something else, in every layer"
    else:
        assert max(worst) < 1e-6


def test_of_a_language_models_linear_layers_and_embeddings_too(fictions, listening):
    def decoder(seed):
        return build("decoder", DecoderSettings(layers=1, width=16, heads=2), fictions.sample, lambda width: None, seed)

    wanted = Request("class", (fictions.train.groups == 1).numpy(), (1,))
    parts, adapter = np.split(np.arange(30), [5, 15]), Lora(rank=2, alpha=4.0, targets=("linear", "embedding"))
    federation = Federation(fictions, parts, wanted, decoder, torch.device("cpu"), 0)
    begin = Progress({name: value.clone() for name, value in decoder(5).state_dict().items()})
    pace = replace(PACE, optimiser="adamw", lr=0.01)
    notes, names = (
        stage(federation, listening, adapter, pace, begin=begin)[-1].notes,
        matrices(decoder(5), adapter.targets),
    )
    assert len(names) == 9 and [weight for _, weight in notes["clients"]] == [5, 10, 15] * 2
    for number, average in enumerate(notes["averages"]):
        clients = notes["clients"][3 * number : 3 * number + 3]
        for name in names:
            assert not torch.equal(average[name], notes["sent"][number][name])
            torch.testing.assert_close(mean(clients, name).float(), average[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_what_has_no_adapter_stays_as_it_was(federation, aggregation):
    before, after = network(5).state_dict(), stage(federation, "fedavg", Lora(aggregation=aggregation))[-1].model
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]) != (name in ADAPTED), name


def test_one_step_is_the_gradient_through_both_factors(federation):
    """By hand: B = 0, so that only B moves, by −η s G Aᵀ. G is of the model in evaluation mode: batch norm uses the
    statistics that came."""
    adapter, pace = Lora(rank=2, alpha=6.0, targets=("head",)), TrainConfig(rounds=1, batch_size=100, lr=0.1)
    federation.parts[:] = federation.parts[:1]
    pace = replace(pace, momentum=0.0, weight_decay=0.0)
    after = stage(federation, "fedavg", adapter, pace)[-1].model
    own, client = network(5).eval(), federation.client(0)
    loss = nn.functional.cross_entropy(own(client.inputs()), client.targets)
    (gradient,) = torch.autograd.grad(loss, [own.head.weight])
    drawn = adapters.fresh(
        adapters.matrices(own, ("head",)),
        2,
        lambda name: adapters.torch_stream(3, "unlearn", "adapter", 1, name),
        torch.device("cpu"),
    )["A/head.weight"]
    expected = own.head.weight - 0.1 * 3.0**2 * gradient @ drawn.T @ drawn
    torch.testing.assert_close(after["head.weight"], expected.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(
    "engine",
    [
        Choice("local", Local(workers=3, backend="threads")),
        Choice("local", Local(workers=2, backend="processes")),
        Choice("stacked", Stacked()),
    ],
    ids=["threads", "processes", "stacked"],
)
def test_every_engine_gives_the_same_bits(federation, aggregation, engine):
    adapter, said = Lora(aggregation=aggregation), []
    alone = stage(federation, "fedavg", adapter)[-1]
    others = stage(federation, "fedavg", adapter, engine=engine, say=said.append)[-1]
    for name, value in alone.model.items():
        assert torch.equal(value, others.model[name])
    assert all(alone.cost[way] == others.cost[way] for way in ("bytes_up", "bytes_down"))
    stacked = engine.name == "stacked"
    assert said == ["clients are trained one by one, not stacked: adapters have no stacked step"] * stacked


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_stage_goes_on_where_it_was_interrupted(federation, aggregation):
    adapter, pace = Lora(aggregation=aggregation), replace(PACE, rounds=3, participation=0.7)
    whole = stage(federation, "fedavg", adapter, pace)
    rest = stage(federation, "fedavg", adapter, pace, begin=whole[2])
    for name, value in whole[-1].model.items():
        assert torch.equal(value, rest[-1].model[name])
    assert rest[-1].cost["bytes_down"] == whole[-1].cost["bytes_down"]


def bytes_of(*prefixes, rank=3):
    model = network(0)
    weights = {name: model.get_parameter(name) for name in ADAPTED}
    sizes = {
        "A/": sum(4 * rank * weight[0].numel() for weight in weights.values()),
        "B/": sum(4 * rank * len(weight) for weight in weights.values()),
        "weights": sum(weight.nbytes for weight in weights.values()),
        "model": sum(value.nbytes for value in model.state_dict().values()),
    }
    return sum(sizes[prefix] for prefix in prefixes)


@pytest.mark.parametrize(
    ("aggregation", "later", "up"),
    [
        ("product", ("weights", "A/"), ("A/", "B/")),
        ("fedex", ("weights", "A/", "B/"), ("A/", "B/")),
        ("ffa", ("B/",), ("B/",)),
        ("naive", ("A/", "B/"), ("A/", "B/")),
    ],
)
def test_bytes_are_those_of_what_is_new_to_the_clients(federation, aggregation, later, up):
    cost = stage(federation, "fedavg", Lora(rank=3, aggregation=aggregation))[-1].cost
    assert cost["bytes_up"] == 2 * 3 * bytes_of(*up)
    assert cost["bytes_down"] == 3 * (bytes_of("model", "A/", "B/") + bytes_of(*later))


def test_a_client_that_was_not_asked_before_gets_everything(federation):
    pace = replace(PACE, rounds=4, participation=0.34)
    seen = stage(federation, "fedavg", Lora(rank=3, aggregation="ffa"), pace)
    down = [entry.cost["bytes_down"] for entry in seen]
    added = [later - earlier for earlier, later in pairwise(down) if later > earlier]
    everything, less = bytes_of("model", "A/", "B/"), bytes_of("B/")
    assert len(added) == 4
    assert set(added) == {everything, less}
    assert added[0] == everything


@pytest.mark.parametrize(("aggregation", "sides"), [("product", "AB"), ("ffa", "B")])
def test_replies_are_held_against_the_factors_that_move(federation, aggregation, sides):
    settings, spec = Lora(rank=2, aggregation=aggregation), StageSpec("unlearn", 0, "fedavg", PACE, 4)
    told = network(0), federation.models.layout, {}, 3, torch.device("cpu")
    exchange = adapters.FactorExchange(settings, spec, *told)
    exchange.outgoing(1, network(0).state_dict())
    assert set(exchange.sent.forms) == {f"{side}/{name}" for side in sides for name in ADAPTED}
    assert exchange.sent.forms["B/head.weight"] == (torch.float32, (4, 2))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("head_mask", "edits weights without training"),
        ("lra_npp", "edits weights without training"),
        ("retrain", "starts from a fresh model"),
        ("gradient_ascent", "corrects single weights after every step"),
        ("fused", "corrects single weights after every step"),
    ],
)
def test_methods_that_cannot_are_refused(method, words):
    member = registry.find("method", method)
    spec = StageSpec("unlearn", 0, method, PACE, 4, forget_classes=(1,), settings=plain(member.settings()))
    without, adapted = (
        command_line.read([f"method={method}", f"adapter={name}"], conf_dir()) for name in ("none", "lora")
    )
    with pytest.raises(RequestError, match=words):
        adaptable.check(member, adapted, spec, network(0))
    adaptable.check(member, without, spec, network(0))
