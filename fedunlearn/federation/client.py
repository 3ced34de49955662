"""The Flower ClientApp: one client's answer to `train` and `query` messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
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

MEMORY = "memory"  # record in a client's Flower context


def client_app(
    open_world: Callable[[], World], pack: wire.Pack, stopped: Callable[[], bool] = lambda: False
) -> ClientApp:
    """The app that every client runs. `open_world` gives this process's data, `pack` how replies travel."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(_train(message, context, open_world(), pack, stopped), reply_to=message)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(_query(message, context, open_world(), pack), reply_to=message)

    return app


def _train(
    message: Message, context: Context, world: World, pack: wire.Pack, stopped: Callable[[], bool]
) -> RecordDict:
    plan, number, client = _assignment(message, context, world)
    method, settings = _method(plan)
    shared = wire.unpack(message.content["shared"], world.device)
    server_round = int(message.content["task"]["round"])
    order = torch_stream(plan.seed, plan.stage, "batches", server_round, number)
    with world.borrowed_model() as model:
        _load(model, message, world.device)
        objective = method.objective(settings, plan)
        data = objective.substitute(model, client) if objective.substitute else client
        outcome = local.train(model, data, objective, shared, plan.training, order, stopped)
        uploads = objective.uploads(model, client, shared)
        state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    _remember(client, context, pack)
    metrics = MetricRecord(
        {"partition-id": number, "trained": outcome.trained, "processed": outcome.processed, "loss": outcome.loss}
    )
    return RecordDict({"model": pack(state), "uploads": pack(uploads), "metrics": metrics})


def _query(message: Message, context: Context, world: World, pack: wire.Pack) -> RecordDict:
    plan, number, client = _assignment(message, context, world)
    name = str(message.content["task"]["query"])
    metrics = MetricRecord({"partition-id": number})
    if name == "roll_call":
        return RecordDict({"uploads": pack({}), "metrics": metrics})
    method, settings = _method(plan)
    with world.borrowed_model() as model:
        _load(model, message, world.device)
        with torch.no_grad():
            answer = method.queries[name](model, client, settings, plan)
    _remember(client, context, pack)
    return RecordDict({"uploads": pack(answer), "metrics": metrics})


def _assignment(message: Message, context: Context, world: World) -> tuple[Plan, int, ClientData]:
    task = message.content["task"]
    assert isinstance(task, ConfigRecord)
    number = int(context.node_config["partition-id"])
    client = world.client(number)
    if MEMORY in context.state:
        client.memory.update(wire.unpack(context.state[MEMORY], world.device))
    return Plan.from_json(str(task["plan"])), number, client


def _remember(client: ClientData, context: Context, pack: wire.Pack) -> None:
    """Keep the client's memory in its Flower context until its next message."""
    if client.memory:
        context.state[MEMORY] = pack(client.memory)


def _method(plan: Plan) -> tuple[Method, object]:
    method: Method = registry.find("method", plan.method)
    return method, parse(method.settings, plan.settings, "method")


def _load(model: Classifier, message: Message, device: torch.device) -> None:
    state: dict[str, Tensor] = wire.unpack(message.content["model"], device)
    model.load_state_dict(state)
