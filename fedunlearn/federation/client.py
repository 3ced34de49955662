"""The Flower ClientApp: one client's answer to `train` and `query` messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, cast

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedunlearn.federation import selection, sgd, wire
from fedunlearn.federation.adapters import RECORD, LowRank
from fedunlearn.federation.augmenting import Augmenter, of_mixtures
from fedunlearn.federation.federation import ClientData, Federation
from fedunlearn.federation.method import Procedure
from fedunlearn.federation.objective import Objective, RoundContext, Tensors
from fedunlearn.federation.pool import Replica
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import ROLL_CALL, SELECT
from fedunlearn.models.lora import merged
from fedunlearn.randomness import torch_stream
from fedunlearn.settings import registry
from fedunlearn.settings.schema import parse

MEMORY, SELECTED = "memory", "selected"  # first words of records in a client's Flower context


def client_app(
    open_federation: Callable[[], Federation],
    pack: wire.Pack,
    stopped: Callable[[], bool] = lambda: False,
    limit: float | None = None,
) -> ClientApp:
    """The app that every client runs. `open_federation` gives this process's data, `pack` how replies travel.

    A client gives up between two batches when the run is `stopped`, or after `limit` seconds of training.
    """
    app, briefings = ClientApp(), Briefings()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        federation = open_federation()
        briefing = briefings.of(message.content, federation)
        return Message(_train(briefing, context, federation, pack, deadline(stopped, limit)), reply_to=message)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        federation = open_federation()
        return Message(_query(briefings.of(message.content, federation), context, federation, pack), reply_to=message)

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
    briefing: Briefing, context: Context, federation: Federation, pack: wire.Pack, check: Callable[[], None]
) -> RecordDict:
    started = time.perf_counter()
    spec, objective = briefing.work.spec, briefing.work.objective
    client = client_of(briefing, context, federation)
    order = batch_order(briefing, client.number)
    with federation.models.lent() as replica:
        model = replica.model
        replica.flat.load(briefing.vectors)
        known = RoundContext(client.task, briefing.round, briefing.shared, briefing.received, model)
        data = objective.substitute(model, client) if objective.substitute else client
        learner = learner_of(briefing, replica)
        told = learner.objective(objective)
        augmenter = augmenter_of(briefing, client.number)
        outcome = sgd.train(model, data, told, known, spec.training, order, check, learner.optimiser, augmenter)
        state = learner.settle()
        uploads = objective.uploads(model, client, replace(known, passes=outcome.passes))
    remember(client, spec, context, pack)
    seconds = time.perf_counter() - started
    return train_reply(client.number, outcome, seconds, pack(state), pack(uploads))


class WholeModel:
    """A client's round: trains the weights of the model themselves."""

    def __init__(self, replica: Replica) -> None:
        self._replica, self.optimiser = replica, replica.optimiser

    def objective(self, own: Objective) -> Objective:
        """The method's, as it is."""
        return own

    def settle(self) -> Tensors:
        """The model that came out of it, in vectors."""
        return self._replica.flat.copy()


def learner_of(briefing: Briefing, replica: Replica) -> WholeModel | LowRank:
    """What learns in a round: the model in the replica, which holds what was received, or factors in its place."""
    adapter = briefing.work.spec.adapter
    if adapter is None:
        return WholeModel(replica)
    return LowRank(adapter, replica.model, briefing.base, briefing.factors, briefing.received)


def batch_order(briefing: Briefing, number: int) -> torch.Generator:
    """What shuffles the batches of client `number` in a round."""
    spec = briefing.work.spec
    return torch_stream(spec.seed, spec.stage, "batches", briefing.round, number)


def augmenter_of(briefing: Briefing, number: int) -> Augmenter | None:
    """What changes the images that client `number` trains on in a round, if anything does."""
    spec = briefing.work.spec
    if spec.augment is None:
        return None
    return Augmenter.of(spec.augment, torch_stream(spec.seed, spec.stage, "augment", briefing.round, number))


def train_reply(
    number: int, outcome: sgd.Trained, seconds: float, state: ArrayRecord, uploads: ArrayRecord
) -> RecordDict:
    """A client's answer to `train`: its model, what the method adds up, and numbers for the server's books."""
    metrics = {
        "partition-id": number,
        "trained": outcome.trained,
        "processed": outcome.processed,
        "loss": outcome.loss,
        "seconds": seconds,
        "data-seconds": outcome.data_seconds,
    }
    records = {"model": state, "uploads": uploads, "metrics": wire.filled(MetricRecord(), metrics)}
    return wire.filled(RecordDict(), records)


def _query(briefing: Briefing, context: Context, federation: Federation, pack: wire.Pack) -> RecordDict:
    metrics = MetricRecord({"partition-id": partition_id(context)})
    if briefing.query == ROLL_CALL:
        return RecordDict({"uploads": pack({}), "metrics": metrics})
    if briefing.query == SELECT:
        _select(briefing, context, federation, pack)
        return RecordDict({"uploads": pack({}), "metrics": metrics})
    work, client = briefing.work, client_of(briefing, context, federation)
    with federation.models.lent() as replica:
        replica.flat.load(briefing.vectors)
        with torch.no_grad():
            answer = work.procedure.queries[briefing.query](replica.model, client, work.settings, work.spec)
    remember(client, work.spec, context, pack)
    return RecordDict({"uploads": pack(answer), "metrics": metrics})


def _select(briefing: Briefing, context: Context, federation: Federation, pack: wire.Pack) -> None:
    """Choose what the client has for the rest of the stage."""
    spec = briefing.work.spec
    client = federation.of_stage(spec).client(partition_id(context))
    with federation.models.lent() as replica:
        replica.flat.load(briefing.vectors)
        with torch.no_grad():
            positions = selection.kept(replica.model, client, spec)
    _keep(context, SELECTED, spec, pack({"positions": positions}))


@dataclass(frozen=True)
class Work:
    """What the clients of a stage are to do, the same for all of them."""

    spec: StageSpec
    procedure: Procedure
    settings: Any
    objective: Objective


@lru_cache(maxsize=16)
def work_of(spec: str) -> Work:
    """From the text of a stage's spec; once per process, since every client of every round asks."""
    read = StageSpec.from_json(spec)
    procedure: Procedure = registry.find(read.kind, read.method)
    settings: Any = parse(procedure.settings, read.settings, read.kind)
    objective = procedure.objective(settings, read)
    return Work(read, procedure, settings, of_mixtures(objective) if read.augment else objective)


@dataclass(frozen=True)
class Briefing:
    """What the server sends to all clients of a round, unpacked on this process's device.

    `round`: 1, 2, …, 0 for a query, whose name is `query`. `vectors`: the model; `received`: its tensors by name.
    `factors`: those of adapters, if there are any; `base`: the tensors that they are merged into.
    """

    work: Work
    round: int
    query: str
    vectors: Tensors
    received: Tensors
    shared: Tensors
    base: Tensors = field(default_factory=dict)
    factors: Tensors = field(default_factory=dict)

    @staticmethod
    def of(content: RecordDict, federation: Federation) -> Briefing:
        """Raises ValueError for a model that does not lie in memory as this process's models do."""
        task = cast(ConfigRecord, content["task"])
        work, query = work_of(str(task["spec"])), str(task.get("query", ""))
        shared = wire.tensors(content, "shared", federation.device)
        if query == ROLL_CALL:  # there is no model yet
            return Briefing(work, 0, query, {}, {}, shared)
        layout = federation.models.layout
        if task["layout"] != layout.digest:
            raise ValueError("the server's model has other tensors than this client's: is it the same configuration?")
        vectors, factors = wire.tensors(content, "model", federation.device), Tensors()
        base, number = layout.views(vectors), int(cast(int, task.get("round", 0)))
        if work.spec.adapter and RECORD in content:
            factors = wire.tensors(content, RECORD, federation.device)
            vectors = layout.vectors({**base, **merged(work.spec.adapter, base, factors)}, federation.device)
        return Briefing(work, number, query, vectors, layout.views(vectors), shared, base, factors)


class Briefings:
    """The last one is kept: inside one process, all messages of a round have the same content."""

    def __init__(self) -> None:
        self._last: tuple[RecordDict, Federation, Briefing] | None = None

    def of(self, content: RecordDict, federation: Federation) -> Briefing:
        """The content, unpacked. Raises as `Briefing.of` does."""
        last = self._last
        if last is None or last[0] is not content or last[1] is not federation:
            last = self._last = content, federation, Briefing.of(content, federation)
        return last[2]


def partition_id(context: Context) -> int:
    """The number of the client that a context is about."""
    return int(context.node_config["partition-id"])


def client_of(briefing: Briefing, context: Context, federation: Federation) -> ClientData:
    """The data of the client that is to work, what it kept from earlier messages, and what came with this one."""
    spec = briefing.work.spec
    client = federation.of_stage(spec).client(partition_id(context))
    if spec.select:
        client = selection.only(client, _kept(context, SELECTED, spec, federation.device)["positions"])
    client.shared.update(briefing.shared)
    if context.state and _name(MEMORY, spec) in context.state:
        client.memory.update(_kept(context, MEMORY, spec, federation.device))
    return client


def remember(client: ClientData, spec: StageSpec, context: Context, pack: wire.Pack) -> None:
    """Keep the client's memory in its Flower context until its next message, but no longer than the stage."""
    if client.memory:
        _keep(context, MEMORY, spec, pack(client.memory))


def _keep(context: Context, what: str, spec: StageSpec, record: ArrayRecord) -> None:
    """Put a record into a client's context in place of those that earlier messages left there."""
    for name in [name for name in context.state if name.startswith(what)]:
        del context.state[name]
    context.state[_name(what, spec)] = record


def _kept(context: Context, what: str, spec: StageSpec, device: torch.device) -> Tensors:
    """What a client kept earlier in the stage. Raises RuntimeError if there is nothing."""
    if _name(what, spec) not in context.state:
        raise RuntimeError(f"nothing {what} was kept for {spec.stage}: an earlier message must have failed")
    return wire.tensors(context.state, _name(what, spec), device)


def _name(what: str, spec: StageSpec) -> str:
    """Some engines keep a client's context from stage to stage."""
    return f"{what} {spec.stage} {spec.variant}"
