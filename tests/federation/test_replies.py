"""Clients that lie. Every reply is held against what was sent; what does not fit is a failure of that client."""

import math
import re
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedunlearn.engines.grid import LocalGrid, Threads, answers
from fedunlearn.errors import RunError
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app, train_reply
from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Objective, everything
from fedunlearn.federation.sgd import Trained
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import UnlearningStrategy, server_app
from fedunlearn.models.flat import Layout
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig

SPEC = StageSpec("train", 0, "probe", TrainConfig(rounds=1, local_epochs=2, batch_size=8), 4)
SIZES = (10, 10, 10)
MODEL = {"head.weight": torch.zeros(4, 3), "head.bias": torch.zeros(4), "steps": torch.tensor(0)}
HONEST = {"head.weight": torch.ones(4, 3), "head.bias": torch.ones(4), "steps": torch.tensor(2)}
CPU = torch.device("cpu")
LAYOUT = Layout.of(MODEL)  # float32: weight in 0..11, bias in 16..19 of 32 elements; int64: steps in 0 of 8
PACKS = {"by reference": wire.by_reference, "as bytes": wire.as_bytes}


def content(number, pack=wire.by_reference, model=HONEST, uploads=None):
    """What an honest client replies."""
    outcome = Trained(trained=10, processed=20, loss=0.5, data_seconds=0.1)
    vectors = LAYOUT.vectors(model, CPU)
    return train_reply(
        number, outcome, 0.2, pack(vectors), pack({"sums": torch.ones(2)} if uploads is None else uploads)
    )


def aggregated(ask, spoil, pack=wire.by_reference, liar=1, sizes=SIZES):
    """A round of three clients, one of which spoils its reply; the strategy, and the average as tensors."""
    strategy = UnlearningStrategy(None, SPEC, wire.by_reference, CPU)
    strategy.sizes = sizes
    strategy.heard = []
    strategy.on_client_model = lambda client, model, weight: strategy.heard.append(client)
    strategy.on_totals = lambda totals: strategy.heard.append(totals)
    replies = []
    for number, message in enumerate(ask(strategy, MODEL, 3)):
        reply = content(number, pack)
        if number == liar:
            spoil(reply)
        replies.append(Message(reply, reply_to=message))
    arrays, _ = strategy.aggregate_train(1, replies)
    return strategy, strategy.named(arrays)


def vector(name, value):
    """Puts `value` in place of a vector of the model."""

    def spoil(reply):
        pack = wire.by_reference if isinstance(reply["model"]["float32"], wire.TensorArray) else wire.as_bytes
        held = dict(reply["model"].items()) | dict(pack({name: value}).items())
        reply["model"] = record(held)

    return spoil


def tensor(name, value):
    """Writes `value` into every element of a tensor of the model."""

    def spoil(reply):
        vectors = wire.tensors(reply, "model", CPU)
        LAYOUT.views(vectors)[name].fill_(value)
        vector("float32", vectors["float32"])(reply)

    return spoil


def record(arrays):
    made = ArrayRecord()
    for name, array in arrays.items():
        made[name] = array
    return made


def without(name, tensor_name=None):
    """Removes a record, or a tensor of one."""

    def spoil(reply):
        if tensor_name is None:
            del reply[name]
        else:
            reply[name] = record({key: array for key, array in reply[name].items() if key != tensor_name})

    return spoil


def metric(**values):
    def spoil(reply):
        metrics = {name.replace("_", "-"): value for name, value in values.items()}
        reply["metrics"] = MetricRecord({**reply["metrics"], **metrics})

    return spoil


def no_metric(name):
    def spoil(reply):
        reply["metrics"] = MetricRecord({key: value for key, value in reply["metrics"].items() if key != name})

    return spoil


def put(name, value):
    def spoil(reply):
        reply[name] = value

    return spoil


LIES = {
    "missing vector": (without("model", "float32"), "tensor float32 is missing"),
    "missing counters": (without("model", "int64"), "tensor int64 is missing"),
    "missing vectors": (put("model", ArrayRecord()), "tensor float32 is missing"),
    "named tensors": (put("model", wire.by_reference(HONEST)), "tensor float32 is missing"),
    "a vector too many": (vector("float64", torch.ones(1)), "tensor float64 should not be there"),
    "broadcastable shape": (vector("float32", torch.ones(1)), r"tensor float32 has shape \[1\] instead of \[32\]"),
    "no dimensions": (vector("float32", torch.tensor(1.0)), r"tensor float32 has shape \[\] instead of \[32\]"),
    "too short": (vector("float32", torch.ones(31)), r"float32 has shape \[31\] instead of \[32\]"),
    "two dimensions": (vector("float32", torch.ones(4, 8)), r"float32 has shape \[4, 8\] instead of \[32\]"),
    "counters of another shape": (vector("int64", torch.tensor(2)), r"int64 has shape \[\] instead of \[8\]"),
    "integers": (vector("float32", torch.zeros(32, dtype=torch.int64)), "float32 is int64 instead of float32"),
    "doubles": (vector("float32", torch.ones(32).double()), "float32 is float64 instead of float32"),
    "counters in floats": (vector("int64", torch.ones(8)), "int64 is float32 instead of int64"),
    "complex": (vector("float32", torch.ones(32) * 1j), r"float32 is of a type that is not supported \(complex64"),
    "nan": (tensor("head.bias", math.nan), "tensor head.bias is not finite"),
    "infinite": (tensor("head.weight", -math.inf), "tensor head.weight is not finite"),
    "nan between tensors": (
        vector("float32", torch.ones(32).index_fill(0, torch.tensor(13), math.nan)),
        "float32 is not",
    ),
    "1e15": (tensor("head.bias", 1e15), r"too large: their norm is 2e\+15, .* sent is 0"),
    "1e30": (tensor("head.bias", 1e30), r"too large: their norm is 2e\+30"),
    "trained < 0": (metric(trained=-1000), "trained is -1000, not a whole number from 0 to 10"),
    "trained nan": (metric(trained=math.nan), "trained is not finite"),
    "trained inf": (metric(trained=math.inf), "trained is not finite"),
    "trained 1e15": (metric(trained=1e15), r"trained is 1e\+15, not a whole number from 0 to 10"),
    "trained 11": (metric(trained=11), "trained is 11, not a whole number from 0 to 10"),
    "trained 2.5": (metric(trained=2.5), "trained is 2.5, not a whole number"),
    "trained a list": (metric(trained=[1, 2]), r"trained is \[1, 2\], not a number"),
    "processed 21": (metric(processed=21), "processed is 21, not a whole number from 0 to 20"),
    "processed < 0": (metric(processed=-1), "processed is -1, not a whole number from 0 to 20"),
    "loss nan": (metric(loss=math.nan), "loss is not finite"),
    "seconds nan": (metric(seconds=math.nan), "seconds is not finite"),
    "seconds < 0": (metric(seconds=-5.0), "time does not run backwards"),
    "data seconds < 0": (metric(data_seconds=-5.0), "time does not run backwards"),
    "somebody else": (metric(partition_id=0), "it says that it is client 0"),
    "nobody": (no_metric("partition-id"), "partition-id is missing"),
    "no trained": (no_metric("trained"), "trained is missing"),
    "no processed": (no_metric("processed"), "processed is missing"),
    "no loss": (no_metric("loss"), "loss is missing"),
    "no seconds": (no_metric("seconds"), "seconds is missing"),
    "no data seconds": (no_metric("data-seconds"), "data-seconds is missing"),
    "no model": (without("model"), "record model is missing"),
    "no uploads": (without("uploads"), "record uploads is missing"),
    "no metrics": (without("metrics"), "record metrics is missing"),
    "nothing": (RecordDict.clear, "record metrics is missing"),
    "a record too many": (put("more", ArrayRecord()), "record more should not be there"),
    "a model of numbers": (put("model", MetricRecord({"a": 1})), "record model is a MetricRecord instead of"),
    "metrics of words": (put("metrics", ConfigRecord({"trained": "ten"})), "record metrics is a ConfigRecord"),
    "missing upload": (put("uploads", ArrayRecord()), "tensor sums is missing"),
    "upload of another shape": (put("uploads", wire.by_reference({"sums": torch.ones(1)})), r"shape \[1\] instead of"),
    "upload of another type": (put("uploads", wire.by_reference({"sums": torch.ones(2).int()})), "is int32 instead of"),
    "upload nan": (put("uploads", wire.by_reference({"sums": torch.full((2,), math.nan)})), "sums is not finite"),
    "upload 1e30": (put("uploads", wire.by_reference({"sums": torch.full((2,), 1e30)})), "too large"),
}


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("lie", LIES)
def test_a_reply_that_does_not_fit_is_left_out_counted_and_named(ask, lie, pack):
    spoil, words = LIES[lie]
    strategy, average = aggregated(ask, spoil, PACKS[pack])
    assert re.search(words, strategy.left_out[0]), strategy.left_out[0]
    assert strategy.left_out[0].startswith("client 1: ")
    assert strategy.cost.failures == 1
    assert strategy.cost.samples == 40  # of the two others; the weight of the third does not count
    assert all(torch.equal(average[name], value) for name, value in HONEST.items())
    assert strategy.heard[:2] == [0, 2]
    assert strategy.heard[2]["sums"].tolist() == [2.0, 2.0]


def test_an_honest_round_leaves_nobody_out(ask):
    strategy, average = aggregated(ask, lambda reply: None)
    assert (strategy.left_out, strategy.cost.failures, strategy.cost.samples) == ([], 0, 60)
    assert all(torch.equal(average[name], value) for name, value in HONEST.items())


@pytest.mark.parametrize("spoil", [tensor("head.bias", 1e5), metric(trained=0, processed=0)])
def test_what_training_may_send_is_taken(ask, spoil):
    assert aggregated(ask, spoil)[0].cost.failures == 0


def test_counts_are_not_limited_where_nobody_knows_how_many_samples_there_are(ask):
    assert aggregated(ask, metric(trained=10**6), sizes=())[0].cost.failures == 0


def lying_array(dtype="float32", shape=(32,), data=None, stype="numpy.ndarray"):
    """In the place of the parameters: bytes that are not what they say they are."""
    held = Array(np.ones(32, dtype=np.float32)).data if data is None else data
    return lambda reply: put("model", record({**reply["model"], "float32": Array(dtype, shape, stype, held)}))(reply)


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(16)


TERABYTES = "{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000000,), }"
BYTES = {
    "other shape": (lying_array(data=Array(np.ones(5, np.float32)).data), r"float32 holds float32 \[5\], and says"),
    "other type": (lying_array(data=Array(np.ones(32, np.int32)).data), r"holds int32 \[32\], and says .* float32"),
    "other byte order": (lying_array(data=Array(np.ones(32, ">f4")).data), "and says that it is float32"),
    "announced terabytes": (lying_array(data=header(TERABYTES)), r"holds float32 \[4000000000000\], and says"),
    "too short": (lying_array(data=Array(np.ones(32, np.float32)).data[:-1]), "more or fewer bytes than its shape"),
    "too long": (lying_array(data=Array(np.ones(32, np.float32)).data + b"x"), "more or fewer bytes than its shape"),
    "no bytes": (lying_array(data=b""), "float32 is not in the format of NumPy"),
    "a pickle": (lying_array(data=b"\x80\x04\x8c\x02os\x94."), "float32 is not in the format of NumPy"),
    "an archive": (lying_array(data=b"PK\x03\x04 and so on"), "float32 is not in the format of NumPy"),
    "objects": (lying_array(data=header(TERABYTES.replace("<f4", "|O"))), "holds object"),
    "a name of no type": (lying_array(dtype="banana"), r"float32 is of a type that is not supported \(banana\)"),
    "complex": (lying_array(dtype="complex64"), r"is of a type that is not supported \(complex64\)"),
    "a type of NumPy's": (lying_array(dtype="object"), r"is of a type that is not supported \(object\)"),
}


@pytest.mark.parametrize("lie", BYTES)
def test_bytes_that_are_not_what_they_say_are_refused(ask, lie):
    spoil, words = BYTES[lie]
    strategy, average = aggregated(ask, spoil, wire.as_bytes)
    assert strategy.cost.failures == 1
    assert re.search(words, strategy.left_out[0]), strategy.left_out[0]
    assert torch.equal(average["head.bias"], HONEST["head.bias"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["prefix", "alone"]))
def test_no_bytes_whatsoever_raise_anything_else(ask, data, where):
    whole = Array(np.ones(32, np.float32)).data
    strategy, average = aggregated(
        ask, lying_array(data=whole[:60] + data if where == "prefix" else data), wire.as_bytes
    )
    assert strategy.cost.failures == 1
    assert torch.equal(average["head.bias"], HONEST["head.bias"])


numbers = st.floats() | st.integers(-(2**63), 2**63 - 1) | st.lists(st.integers(-5, 5), max_size=2)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["trained", "processed", "loss", "seconds", "partition_id"]), numbers))
def test_the_average_is_finite_whatever_a_client_counts(ask, values):
    strategy, average = aggregated(ask, metric(**values))
    assert all(torch.equal(average[name], value) for name, value in HONEST.items())
    assert 40 <= strategy.cost.samples <= 60
    assert strategy.cost.failures in (0, 1)


def test_a_node_that_was_not_asked_or_answers_twice_is_refused(ask):
    strategy = UnlearningStrategy(None, SPEC, wire.by_reference, CPU)
    messages = ask(strategy, MODEL, 2)
    replies = [Message(content(number), reply_to=message) for number, message in enumerate(messages)]
    strategy.aggregate_train(1, [*replies, replies[0]])
    assert strategy.left_out == ["node 7: was not asked, or has answered before"]
    assert strategy.cost.samples == 40


def test_those_that_are_silent_are_named(ask):
    strategy = UnlearningStrategy(None, SPEC, wire.by_reference, CPU)
    messages = ask(strategy, MODEL, 3)
    strategy.aggregate_train(1, [Message(content(number), reply_to=messages[number]) for number in (0, 2)])
    assert strategy.left_out == ["client 1: no answer in time"]


def test_a_round_in_which_most_clients_diverge_names_the_setting(ask):
    spec = replace(SPEC, stage="unlearn", settings={"post_lr": 0.5, "other_lr": None})
    strategy = UnlearningStrategy(None, spec, wire.by_reference, CPU)
    messages = ask(strategy, MODEL, 2)
    model = {**HONEST, "head.bias": torch.full((4,), math.nan)}
    with pytest.raises(
        RunError, match=r"not finite. The steps .*: try a smaller unlearn.lr=0.03 or method.post_lr=0.5"
    ):
        strategy.aggregate_train(1, [Message(content(n, model=model), reply_to=m) for n, m in enumerate(messages)])


# Through the grid


@pytest.fixture
def run(make_federation, monkeypatch):
    """`run(lie)`: a round of three clients, client 1 of which lies in every answer; the server, and its rounds."""
    objective = Objective(everything, uploads=lambda model, client, context: {"sums": torch.ones(2)})
    queries = {"ask": lambda model, client, settings, spec: {"n": torch.ones(3)}}
    probe = Method("probe", NoSettings, lambda settings, spec: objective, queries=queries)
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: probe if name == "probe" else find(kind, name))

    def go(lie, server=UnlearningStrategy):
        federation = make_federation(clients=3)
        honest = client_app(lambda: federation, wire.by_reference)

        def lying(message, context):
            reply = honest(message, context)
            if context.node_config["partition-id"] == 1:
                lie(reply.content)
            return reply

        strategy = server(None, SPEC, wire.by_reference, CPU)
        strategy.sizes = [len(part) for part in federation.parts]
        states = []
        app = server_app(
            strategy, federation.models.fresh(0).state_dict(), 1, False, lambda n, state: states.append(state)
        )
        with LocalGrid(Threads(answers(lying), 2, Event()), 3) as grid:
            app(grid, Context(1, 1, {}, RecordDict(), {}))
        return strategy, states

    return go


def raising(reply):
    raise ValueError("not today")


@pytest.mark.parametrize(
    "lie",
    [
        without("model", "float32"),
        vector("float32", torch.zeros(1)),
        vector("float32", torch.zeros(161)),
        vector("float32", torch.zeros(160, dtype=torch.int64)),
        vector("float32", torch.zeros(160) * 1j),
        vector("float32", torch.full((160,), 1e30)),
        metric(trained=-1000),
        metric(trained=17),
        no_metric("loss"),
        RecordDict.clear,
    ],
)
def test_a_lying_client_counts_as_little_as_one_that_fails(run, lie):
    (liar, lied), (_, failed) = run(lie), run(raising)
    assert liar.cost.failures == 1
    assert len(liar.left_out) == 1 and liar.left_out[0].startswith("client 1: ")
    assert all(torch.equal(lied[1][name], value) for name, value in failed[1].items())


class Asking(UnlearningStrategy):
    """Asks its clients before the first round."""

    def prepare(self, model, clients):
        self.total = clients.total("ask", model)["n"]
        with pytest.raises(RunError, match="a client could not answer 'ask': client 1: "):
            list(clients.each("ask", model))
        return model


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (
            put("uploads", wire.by_reference({"n": torch.ones(1)})),
            r"client 1: tensor n has shape \[1\] instead of \[3\]",
        ),
        (put("uploads", wire.by_reference({})), "client 1: tensor n is missing"),
        (put("uploads", wire.by_reference({"n": torch.full((3,), math.inf)})), "client 1: tensor n is not finite"),
        (put("uploads", wire.by_reference({"n": torch.ones(3) * 1j})), "client 1: tensor n is of a type"),
        (metric(partition_id=2), "client 1: it says that it is client 2"),
        (without("uploads"), "client 1: record uploads is missing"),
        (without("metrics"), "client 1: record metrics is missing"),
    ],
)
def test_answers_are_held_against_those_of_the_others(run, lie, words):
    strategy, _ = run(lie, Asking)
    assert strategy.total.tolist() == [2.0, 2.0, 2.0]
    assert strategy.cost.failures == 2  # in the vote, and in the round
    assert re.search(words, strategy.left_out[0]), strategy.left_out[0]


class Nodes:
    """A grid whose nodes answer the roll call with these numbers."""

    def __init__(self, *numbers):
        self.numbers, self.calls, self.roster = numbers, 0, []

    def get_node_ids(self):
        return [100 + node for node in range(len(self.numbers))]

    def send_and_receive(self, messages, timeout=None):
        self.calls += 1
        for number, message in zip(self.numbers, messages, strict=True):
            reply = RecordDict({"uploads": ArrayRecord(), "metrics": MetricRecord({"partition-id": number})})
            yield Message(reply, reply_to=message)


def roll_call(grid, sizes=()):
    strategy = UnlearningStrategy(None, SPEC, wire.by_reference, CPU)
    strategy.sizes = sizes
    return strategy._roll_call(grid)


def test_nodes_are_asked_once_which_client_they_are():
    grid = Nodes(2, 0, 1)
    assert roll_call(grid) == roll_call(grid) == [101, 102, 100]
    assert grid.calls == 1


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((1, 1), "several nodes say that they are the same client"),
        ((0, 5), "a node says that it is client 5, and 2 nodes are clients 0, 1"),
        ((0, -1), "partition-id is -1, not a whole number, 0 or more"),
        ((0, 1, 2), "3 nodes answered the roll call of 2 clients"),
        ((), "there are none"),
    ],
)
def test_a_roll_call_that_makes_no_sense_stops_the_run(numbers, words):
    with pytest.raises(RunError, match=words):
        roll_call(Nodes(*numbers), sizes=(10, 10))
