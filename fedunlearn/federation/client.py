"""The Flower ClientApp: one client's answer to `train` and `query` messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from fedunlearn.federation import sgd, wire
from fedunlearn.federation.federation import ClientData, Federation
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.randomness import torch_stream
from fedunlearn.settings import registry
from fedunlearn.settings.schema import parse

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
    work, number, client = assignment(message, context, federation)
    spec, objective, device = work.spec, work.objective, federation.device
    order = batch_order(spec, message, number)
    received = wire.tensors(message.content, "model", device)
    shared = wire.tensors(message.content, "shared", device)
    with federation.models.borrowed() as model:
        load(model, received)
        known = RoundContext(client.task, round_of(message), shared, received, model)
        data = objective.substitute(model, client) if objective.substitute else client
        outcome = sgd.train(model, data, objective, known, spec.training, order, check)
        uploads = objective.uploads(model, client, known)
        state = {name: value.clone() for name, value in model.state_dict().items()}
    remember(client, spec, context, pack)
    seconds = time.perf_counter() - started
    return train_reply(number, outcome, seconds, pack(state), pack(uploads))


def round_of(message: Message) -> int:
    """The round that a message is about, 1, 2, …"""
    return int(wire.number(message.content, "task", "round"))


def batch_order(spec: StageSpec, message: Message, number: int) -> torch.Generator:
    """What shuffles the batches of client `number` in the round that `message` is about."""
    return torch_stream(spec.seed, spec.stage, "batches", round_of(message), number)


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
    work, number, client = assignment(message, context, federation)
    name = str(message.content["task"]["query"])
    metrics = MetricRecord({"partition-id": number})
    if name == "roll_call":
        return RecordDict({"uploads": pack({}), "metrics": metrics})
    with federation.models.borrowed() as model:
        load(model, wire.tensors(message.content, "model", federation.device))
        with torch.no_grad():
            answer = work.method.queries[name](model, client, work.settings, work.spec)
    remember(client, work.spec, context, pack)
    return RecordDict({"uploads": pack(answer), "metrics": metrics})


@dataclass(frozen=True)
class Work:
    """What the clients of a stage are to do, the same for all of them."""

    spec: StageSpec
    method: Method
    settings: Any
    objective: Objective


@lru_cache(maxsize=16)
def work_of(spec: str) -> Work:
    """From the text of a stage's spec; once per process, since every client of every round asks."""
    read = StageSpec.from_json(spec)
    method: Method = registry.find("method", read.method)
    settings: Any = parse(method.settings, read.settings, "method")
    return Work(read, method, settings, method.objective(settings, read))


def assignment(message: Message, context: Context, federation: Federation) -> tuple[Work, int, ClientData]:
    """What is to be done, the number of the client that is to do it, and its data."""
    task = message.content["task"]
    assert isinstance(task, ConfigRecord)
    number = int(context.node_config["partition-id"])
    work = work_of(str(task["spec"]))
    client = federation.of_variant(work.spec.variant).client(number)
    if _kept_under(work.spec) in context.state:
        client.memory.update(wire.tensors(context.state, _kept_under(work.spec), federation.device))
    return work, number, client


def remember(client: ClientData, spec: StageSpec, context: Context, pack: wire.Pack) -> None:
    """Keep the client's memory in its Flower context until its next message, but no longer than the stage."""
    if client.memory:
        for name in [name for name in context.state if name.startswith(MEMORY)]:
            del context.state[name]
        context.state[_kept_under(spec)] = pack(client.memory)


def _kept_under(spec: StageSpec) -> str:
    """Some engines keep a client's context from stage to stage."""
    return f"{MEMORY} {spec.stage} {spec.variant}"


@torch.no_grad()
def load(model: Network, received: Mapping[str, Tensor]) -> None:
    """Give a model the values `received`."""
    for name, value in model.state_dict().items():  # load_state_dict does the same, slowly
        value.copy_(received[name])
