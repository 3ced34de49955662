"""What executes the clients' work: our own grid in this process, or Flower's simulation on Ray."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import joblib
import torch
from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from fedunlearn.engines import deployment
from fedunlearn.engines.grid import GRACE, LocalGrid
from fedunlearn.engines.stacked import StackedClients
from fedunlearn.errors import RunError
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app
from fedunlearn.federation.clock import CHECKPOINT, EVALUATION, breakdown
from fedunlearn.federation.evaluation import class_accuracy
from fedunlearn.federation.federation import Federation, federation_from_json
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import FOREVER, Tensors, UnlearningStrategy, server_app
from fedunlearn.settings import registry
from fedunlearn.settings.config import EngineConfig, RunConfig
from fedunlearn.settings.schema import parse

if TYPE_CHECKING:  # methods build on this package; here only their type is needed
    from fedunlearn.federation.method import Method, Server

Rounds = list[dict[str, Any]]
Say = Callable[[str], None]
START = {"local": GRACE, "stacked": GRACE, "ray": GRACE, "deployment": 60.0}  # seconds before a client is at work


@dataclass(frozen=True)
class Progress:
    """A stage between two rounds: all that is needed to go on from there.

    `history` has one entry per round from 0 (the model at the start): the round, the test accuracy of every class,
    and the mean training loss (from round 1).
    """

    model: Tensors
    shared: Tensors = field(default_factory=dict)
    memory: Tensors = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    history: Rounds = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)


def run_stage(
    spec: StageSpec,
    begin: Progress,
    rounds: int,
    federation: Federation,
    config: RunConfig,
    after_round: Callable[[Progress], None],
    server: Server | None = None,
    say: Say = lambda text: None,
) -> Progress:
    """Run the rounds that are left of a stage of `rounds` rounds; `begin` is a start or a checkpoint.

    `after_round` is called with a checkpoint after the preparation and after every round. `server` takes the place of
    the method's own. `say` tells the user what the engine could not do as asked.
    Raises RunError when too few clients answer.
    """
    method: Method = registry.find("method", spec.method)
    pack = PACKS[config.engine.name]
    settings: Any = parse(method.settings, spec.settings, "method")
    strategy = (server or method.server)(spec, settings, pack, federation.device)
    strategy.new_model = federation.fresh_model
    strategy.sizes = [len(part) for part in federation.of_shadow(spec.shadow).parts]
    strategy.min_replies = config.engine.min_replies
    restore(strategy, begin)
    resumed = bool(begin.history)
    latest = [begin]
    workers = worker_count(config.engine)
    at_once = len(federation.parts) if config.engine.name == "deployment" else workers
    started = time.perf_counter() - begin.cost.get("seconds", 0.0)

    def evaluate(server_round: int, state: Tensors) -> None:
        if server_round == 0 and resumed:
            return
        strategy.watch.restart()
        try:
            accuracy = class_accuracy(federation, state, workers)
        except FloatingPointError as error:
            raise RunError(strategy.diverged(str(error))) from error
        entry = {"round": strategy.cost.rounds, "class_accuracy": accuracy}
        strategy.watch.lap(EVALUATION)
        if strategy.losses:
            entry["loss"] = strategy.losses.pop()
        if strategy.left_out:
            entry |= {"failures": len(strategy.left_out), "failure": strategy.left_out[-1]}
            strategy.left_out = []
        strategy.cost.seconds = time.perf_counter() - started
        strategy.cost.profile = added(begin.cost.get("profile", {}), breakdown(strategy.watch.seconds, at_once))
        history = [*latest[0].history, entry]
        kept = (dict(strategy.shared), dict(strategy.memory), dict(strategy.notes))
        latest[0] = Progress(state, *kept, history, asdict(strategy.cost))
        after_round(latest[0])
        strategy.watch.lap(CHECKPOINT)

    left = rounds - begin.cost.get("rounds", 0)
    app = server_app(
        strategy, begin.model, left, resumed, evaluate, round_limit(config.engine, len(federation.parts), at_once)
    )
    with quiet_torch():
        ENGINES[config.engine.name](app, federation, config, pack, say)
    return latest[0]


def restore(strategy: UnlearningStrategy, begin: Progress) -> None:
    """Put a checkpoint's memory back into a fresh strategy."""
    strategy.shared, strategy.memory, strategy.notes = dict(begin.shared), dict(begin.memory), dict(begin.notes)
    for name, value in begin.cost.items():
        setattr(strategy.cost, name, value)


def added(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Two profiles of the same stage as one."""
    return {part: first.get(part, 0.0) + seconds for part, seconds in second.items()}


def round_limit(engine: EngineConfig, clients: int, at_once: int) -> float:
    """Seconds for a round in which every client takes as long as it may."""
    if engine.client_timeout is None:
        return FOREVER
    return (engine.client_timeout + START[engine.name]) * math.ceil(clients / at_once)


def run_local(app: ServerApp, federation: Federation, config: RunConfig, pack: wire.Pack, say: Say) -> None:
    """All clients in this process, several at a time, each by itself or many in a stack."""
    stop, engine = Event(), config.engine
    clients = client_app(lambda: federation, pack, stop.is_set, engine.client_timeout)
    stacks = StackedClients(federation, pack, engine, stop.is_set, say) if engine.name == "stacked" else None
    workers = (
        1 if stacks and federation.device.type == "cuda" else worker_count(engine)
    )  # a stack fills a GPU by itself
    with LocalGrid(clients, len(federation.parts), workers, stop, engine.client_timeout, stacks) as grid:
        app(grid, Context(1, 1, {}, RecordDict(), {}))


def run_ray(app: ServerApp, federation: Federation, config: RunConfig, pack: wire.Pack, say: Say) -> None:
    """The same apps under Flower's simulation; every Ray actor opens the federation once."""
    from fedunlearn.engines import ray

    text = json.dumps(config.as_dict(), sort_keys=True)
    clients = client_app(partial(federation_from_json, text), pack, limit=config.engine.client_timeout)
    ray.simulate(app, clients, len(federation.parts), config.engine, worker_count(config.engine))


def run_deployment(app: ServerApp, federation: Federation, config: RunConfig, pack: wire.Pack, say: Say) -> None:
    """The SuperNodes of the Flower app that this process serves."""
    app(deployment.grid_of(len(federation.parts)), Context(1, 1, {}, RecordDict(), {}))


ENGINES = {"local": run_local, "stacked": run_local, "ray": run_ray, "deployment": run_deployment}
PACKS: dict[str, wire.Pack] = {
    "local": wire.by_reference,
    "stacked": wire.by_reference,
    "ray": wire.as_bytes,
    "deployment": wire.as_bytes,
}


def worker_count(engine: EngineConfig) -> int:
    """How many clients train at the same time."""
    if engine.workers == "auto":
        return int(joblib.cpu_count())  # those that this process may use, in a container as well
    return engine.workers


@contextmanager
def quiet_torch() -> Iterator[None]:
    """One torch thread per client while clients run side by side: faster, and the same bits for any worker count."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=torch.backends.cudnn.allow_tf32):
            yield
    finally:
        torch.set_num_threads(before)
