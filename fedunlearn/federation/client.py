"""The Flower ClientApp: one client's answer to `train` and `query` messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from fedunlearn.federation import sgd, wire
from fedunlearn.federation.federation import ClientData, Federation
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Classifier
from fedunlearn.randomness import torch_stream
from fedunlearn.settings import registry
from fedunlearn.settings.schema import parse

if TYPE_CHECKING:  # methods build on this package; here only their type is needed
    from fedunlearn.federation.method import Method

MEMORY = "memory"  # first word of a record in a client's Flower context


def client_app(
    open_federation: Callable[[], Federation],
    pack: wire.Pack,
    stopped: Callable[[], bool] = lambda: False,
    limit: float | None = None,
) -> ClientApp:
    """The app that every client runs. `open_federation` gives this process's data, `pack` how replies travel.

    A client gives up between two batches when the run is `stopped`, or after `limit` seconds of training.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(_train(message, context, open_federation(), pack, deadline(stopped, limit)), reply_to=message)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(_query(message, context, open_federation(), pack), reply_to=message)

    return app


def deadline(stopped: Callable[[], bool], limit: float | None) -> Callable[[], None]:
    """To be called between batches: raises Interrupted or, more than `limit` seconds from now, TimeoutError."""
    end = None if limit is None else time.monotonic() + limit

    def check() -> None:
        if stopped():
            raise sgd.Interrupted
        if end is not None and time.monotonic() > end:
            raise TimeoutError(f"not finished after {limit:g} s")

    return check


def _train(
    message: Message, context: Context, federation: Federation, pack: wire.Pack, check: Callable[[], None]
) -> RecordDict:
    started = time.perf_counter()
    spec, number, client = assignment(message, context, federation)
    method, settings = method_of(spec)
    shared = wire.tensors(message.content, "shared", federation.device)
    order = batch_order(spec, message, number)
    with federation.borrowed_model() as model:
        load(model, wire.tensors(message.content, "model", federation.device))
        objective = method.objective(settings, spec)
        data = objective.substitute(model, client) if objective.substitute else client
        outcome = sgd.train(model, data, objective, shared, spec.training, order, check)
        uploads = objective.uploads(model, client, shared)
        state = {name: value.clone() for name, value in model.state_dict().items()}
    remember(client, spec, context, pack)
    seconds = time.perf_counter() - started
    return train_reply(number, outcome, seconds, pack(state), pack(uploads))


def batch_order(spec: StageSpec, message: Message, number: int) -> torch.Generator:
    """What shuffles the batches of client `number` in the round that `message` is about."""
    server_round = int(wire.number(message.content, "task", "round"))
    return torch_stream(spec.seed, spec.stage, "batches", server_round, number)


def train_reply(
    number: int, outcome: sgd.Trained, seconds: float, state: ArrayRecord, uploads: ArrayRecord
) -> RecordDict:
    """A client's answer to `train`: its model, what the method adds up, and numbers for the server's books."""
    metrics: dict[str, int | float | list[int] | list[float]] = {
        "partition-id": number,
        "trained": outcome.trained,
        "processed": outcome.processed,
        "loss": outcome.loss,
        "seconds": seconds,
        "data-seconds": outcome.data_seconds,
    }
    return RecordDict({"model": state, "uploads": uploads, "metrics": MetricRecord(metrics)})


def _query(message: Message, context: Context, federation: Federation, pack: wire.Pack) -> RecordDict:
    spec, number, client = assignment(message, context, federation)
    name = str(message.content["task"]["query"])
    metrics = MetricRecord({"partition-id": number})
    if name == "roll_call":
        return RecordDict({"uploads": pack({}), "metrics": metrics})
    method, settings = method_of(spec)
    with federation.borrowed_model() as model:
        load(model, wire.tensors(message.content, "model", federation.device))
        with torch.no_grad():
            answer = method.queries[name](model, client, settings, spec)
    remember(client, spec, context, pack)
    return RecordDict({"uploads": pack(answer), "metrics": metrics})


def assignment(message: Message, context: Context, federation: Federation) -> tuple[StageSpec, int, ClientData]:
    """What is to be done, the number of the client that is to do it, and its data."""
    task = message.content["task"]
    assert isinstance(task, ConfigRecord)
    number = int(context.node_config["partition-id"])
    spec = StageSpec.from_json(str(task["spec"]))
    client = federation.of_shadow(spec.shadow).client(number)
    if _kept_under(spec) in context.state:
        client.memory.update(wire.tensors(context.state, _kept_under(spec), federation.device))
    return spec, number, client


def remember(client: ClientData, spec: StageSpec, context: Context, pack: wire.Pack) -> None:
    """Keep the client's memory in its Flower context until its next message, but no longer than the stage."""
    if client.memory:
        for name in [name for name in context.state if name.startswith(MEMORY)]:
            del context.state[name]
        context.state[_kept_under(spec)] = pack(client.memory)


def _kept_under(spec: StageSpec) -> str:
    """Some engines keep a client's context from stage to stage."""
    return f"{MEMORY} {spec.stage} {spec.shadow}"


def method_of(spec: StageSpec) -> tuple[Method, object]:
    """The method that a spec names, and its settings."""
    method: Method = registry.find("method", spec.method)
    return method, parse(method.settings, spec.settings, "method")


@torch.no_grad()
def load(model: Classifier, received: Mapping[str, Tensor]) -> None:
    """Give a model the values `received`."""
    for name, value in model.state_dict().items():  # load_state_dict does the same, slowly
        value.copy_(received[name])
