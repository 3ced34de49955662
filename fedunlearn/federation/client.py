"""The Flower ClientApp: one client's answer to `train` and `query` messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from fedunlearn import registry
from fedunlearn.federation import local, wire
from fedunlearn.federation.plan import Plan
from fedunlearn.federation.world import ClientData, World
from fedunlearn.models.base import Classifier
from fedunlearn.randomness import torch_stream
from fedunlearn.schema import parse

if TYPE_CHECKING:  # methods build on this package; here only their type is needed
    from fedunlearn.methods.base import Method

MEMORY = "memory"  # first word of a record in a client's Flower context


def client_app(
    open_world: Callable[[], World],
    pack: wire.Pack,
    stopped: Callable[[], bool] = lambda: False,
    limit: float | None = None,
) -> ClientApp:
    """The app that every client runs. `open_world` gives this process's data, `pack` how replies travel.

    A client gives up between two batches when the run is `stopped`, or after `limit` seconds of training.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(_train(message, context, open_world(), pack, watchman(stopped, limit)), reply_to=message)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(_query(message, context, open_world(), pack), reply_to=message)

    return app


def watchman(stopped: Callable[[], bool], limit: float | None) -> Callable[[], None]:
    """To be called between batches: raises Interrupted or, more than `limit` seconds from now, TimeoutError."""
    end = None if limit is None else time.monotonic() + limit

    def check() -> None:
        if stopped():
            raise local.Interrupted
        if end is not None and time.monotonic() > end:
            raise TimeoutError(f"not finished after {limit:g} s")

    return check


def _train(message: Message, context: Context, world: World, pack: wire.Pack, check: Callable[[], None]) -> RecordDict:
    started = time.perf_counter()
    plan, number, client = assignment(message, context, world)
    method, settings = method_of(plan)
    shared = wire.tensors(message.content, "shared", world.device)
    order = batch_order(plan, message, number)
    with world.borrowed_model() as model:
        load(model, wire.tensors(message.content, "model", world.device))
        objective = method.objective(settings, plan)
        data = objective.substitute(model, client) if objective.substitute else client
        outcome = local.train(model, data, objective, shared, plan.training, order, check)
        uploads = objective.uploads(model, client, shared)
        state = {name: value.clone() for name, value in model.state_dict().items()}
    remember(client, plan, context, pack)
    seconds = time.perf_counter() - started
    return train_reply(number, outcome, seconds, pack(state), pack(uploads))


def batch_order(plan: Plan, message: Message, number: int) -> torch.Generator:
    """What shuffles the batches of client `number` in the round that `message` is about."""
    server_round = int(wire.number(message.content, "task", "round"))
    return torch_stream(plan.seed, plan.stage, "batches", server_round, number)


def train_reply(
    number: int, outcome: local.Trained, seconds: float, state: ArrayRecord, uploads: ArrayRecord
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


def _query(message: Message, context: Context, world: World, pack: wire.Pack) -> RecordDict:
    plan, number, client = assignment(message, context, world)
    name = str(message.content["task"]["query"])
    metrics = MetricRecord({"partition-id": number})
    if name == "roll_call":
        return RecordDict({"uploads": pack({}), "metrics": metrics})
    method, settings = method_of(plan)
    with world.borrowed_model() as model:
        load(model, wire.tensors(message.content, "model", world.device))
        with torch.no_grad():
            answer = method.queries[name](model, client, settings, plan)
    remember(client, plan, context, pack)
    return RecordDict({"uploads": pack(answer), "metrics": metrics})


def assignment(message: Message, context: Context, world: World) -> tuple[Plan, int, ClientData]:
    """What is to be done, the number of the client that is to do it, and its data."""
    task = message.content["task"]
    assert isinstance(task, ConfigRecord)
    number = int(context.node_config["partition-id"])
    plan = Plan.from_json(str(task["plan"]))
    client = world.of_shadow(plan.shadow).client(number)
    if _kept_under(plan) in context.state:
        client.memory.update(wire.tensors(context.state, _kept_under(plan), world.device))
    return plan, number, client


def remember(client: ClientData, plan: Plan, context: Context, pack: wire.Pack) -> None:
    """Keep the client's memory in its Flower context until its next message, but no longer than the stage."""
    if client.memory:
        for name in [name for name in context.state if name.startswith(MEMORY)]:
            del context.state[name]
        context.state[_kept_under(plan)] = pack(client.memory)


def _kept_under(plan: Plan) -> str:
    """Some engines keep a client's context from stage to stage."""
    return f"{MEMORY} {plan.stage} {plan.shadow}"


def method_of(plan: Plan) -> tuple[Method, object]:
    """The method that a plan names, and its settings."""
    method: Method = registry.find("method", plan.method)
    return method, parse(method.settings, plan.settings, "method")


@torch.no_grad()
def load(model: Classifier, received: Mapping[str, Tensor]) -> None:
    """Give a model the values `received`."""
    for name, value in model.state_dict().items():  # load_state_dict does the same, slowly
        value.copy_(received[name])
