"""What an engine is, and how a stage runs on one: the same apps and the same rounds, whoever does the clients' work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import joblib
import torch
from flwr.serverapp import ServerApp

from fedunlearn.engines.memory import keep_freed
from fedunlearn.errors import HopelessError
from fedunlearn.federation import wire
from fedunlearn.federation.clock import CHECKPOINT, EVALUATION, breakdown
from fedunlearn.federation.evaluation import group_scores, is_due
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import FOREVER, Tensors, UnlearningStrategy, server_app
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, RunConfig
from fedunlearn.settings.schema import Count, parse

if TYPE_CHECKING:  # methods build on this package; here only their type is needed
    from fedunlearn.federation.method import MakeStrategy, Procedure

Rounds = list[dict[str, Any]]
Say = Callable[[str], None]
Workers = Count | Literal["auto"]  # auto: one per core
# First letters of what a checkpoint's memory holds beside the method's own: of adapters, and for a floor.
ADAPTER, ANCHOR = "adapter: ", "anchor: "
GRACE = 1.0  # seconds more than a client's own limit, so that one that notices by itself can say so


class Common(Protocol):
    """What the settings of every engine hold besides its own options."""

    @property
    def workers(self) -> int | Literal["auto"]:
        """Clients trained at the same time, and threads of the server's evaluation."""

    @property
    def client_timeout(self) -> float | None:
        """Seconds that a client may train in a round before it is left out; None: as long as it takes."""

    @property
    def min_replies(self) -> float:
        """Share of the clients asked that must answer, or the run stops."""

    @property
    def profile(self) -> bool:
        """Show where the rounds' time went."""


def same_bits(settings: Any) -> dict[str, Any]:
    """The traits of an engine that gives the bits of the local one: none."""
    return {}


def by_workers(settings: Common, clients: int) -> int:
    """As many clients at a time as there are workers."""
    return worker_count(settings)


@dataclass(frozen=True)
class Engine:
    """A registered engine.

    `settings`: a frozen dataclass with the fields of `Common` and the engine's own options. `run(app, federation,
    config, say)`: carry out the ServerApp of a stage on the federation's clients; `say` tells the user what could not
    be done as asked. `pack`: how tensors travel to clients and back. `start`: seconds before a client is at work.
    `at_once(settings, clients)`: how many clients are at work at the same time. `traits(settings)`: what trained
    models depend on, and so the keys that they are stored under.
    """

    name: str
    settings: type
    run: Callable[[ServerApp, Federation, RunConfig, Say], None]
    pack: wire.Pack
    start: float = GRACE
    at_once: Callable[[Any, int], int] = by_workers
    traits: Callable[[Any], dict[str, Any]] = same_bits
    about: str = ""  # for those who read conf/


def traits(chosen: Choice) -> dict[str, Any]:
    """What of the engine a trained model depends on: its own traits, and the limit at which clients are left out."""
    engine = registry.find(Engine, chosen.name)
    limit = chosen.settings.client_timeout
    return {**engine.traits(chosen.settings), **({"client_timeout": limit} if limit is not None else {})}


@dataclass(frozen=True)
class Progress:
    """A stage between two rounds: all that is needed to go on from there.

    `history` has one entry per round from 0 (the model at the start): the round, the mean training loss (from round 1),
    and the mean test score of every group in rounds after which the model was tested (see `is_due`).
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
    server: MakeStrategy | None = None,
    say: Say = lambda text: None,
    first: Tensors | None = None,
) -> Progress:
    """Run the rounds that are left of a stage of `rounds` rounds; `begin` is a start or a checkpoint.

    `after_round` is called with a checkpoint after the preparation and after every round. `server` takes the place of
    the method's own. `say` tells the user what the engine could not do as asked. `first`: the model that the stage
    began with, if `begin` is a checkpoint of a stage for which clients select samples.
    Raises RunError when too few clients answer.
    """
    keep_freed()
    procedure: Procedure = registry.find(spec.kind, spec.method)
    engine = registry.find(Engine, config.engine.name)
    asked: Common = config.engine.settings
    settings: Any = parse(procedure.settings, spec.settings, spec.kind)
    strategy = (server or procedure.strategy)(settings, spec, engine.pack, federation.device)
    strategy.new_model = federation.models.fresh
    strategy.sizes = [len(part) for part in federation.of_stage(spec).parts]
    strategy.min_replies, strategy.first = asked.min_replies, first
    restore(strategy, begin)
    resumed = bool(begin.history)
    latest = [begin]
    workers, at_once = worker_count(asked), engine.at_once(asked, len(federation.parts))
    started = time.perf_counter() - begin.cost.get("seconds", 0.0)

    def evaluate(server_round: int, state: Tensors) -> None:
        if server_round == 0 and resumed:
            return
        strategy.watch.restart()
        entry: dict[str, Any] = {"round": strategy.cost.rounds}
        if is_due(strategy.cost.rounds, rounds, config.train.evaluate_every):
            try:
                entry["scores"] = group_scores(federation, state, workers)
            except FloatingPointError as error:
                raise HopelessError(strategy.diverged(str(error))) from error
        strategy.watch.lap(EVALUATION)
        if strategy.losses:
            entry["loss"] = strategy.losses.pop()
        if strategy.left_out:
            entry |= {"failures": len(strategy.left_out), "failure": strategy.left_out[-1]}
            strategy.left_out = []
        strategy.cost.seconds = time.perf_counter() - started
        strategy.cost.profile = added(begin.cost.get("profile", {}), breakdown(strategy.watch.seconds, at_once))
        history = [*latest[0].history, entry]
        kept = (dict(strategy.shared), memory_of(strategy), dict(strategy.notes))
        latest[0] = Progress(state, *kept, history, asdict(strategy.cost))
        after_round(latest[0])
        strategy.watch.lap(CHECKPOINT)

    left = rounds - begin.cost.get("rounds", 0)
    limit = round_limit(asked.client_timeout, engine.start, len(federation.parts), at_once)
    app = server_app(strategy, federation.models.arranged(begin.model), left, resumed, evaluate, limit)
    with quiet_torch():
        engine.run(app, federation, config, say)
    return latest[0]


def memory_of(strategy: UnlearningStrategy) -> Tensors:
    """Everything that the server remembers, in one dictionary."""
    parts = {"": strategy.memory, ADAPTER: strategy.factors, ANCHOR: strategy.anchor}
    return {start + name: value for start, part in parts.items() for name, value in part.items()}


def restore(strategy: UnlearningStrategy, begin: Progress) -> None:
    """Put a checkpoint's memory back into a fresh strategy."""
    strategy.shared, strategy.notes = dict(begin.shared), dict(begin.notes)
    for start, part in ((ADAPTER, strategy.factors), (ANCHOR, strategy.anchor)):
        part.update({name.removeprefix(start): value for name, value in begin.memory.items() if name.startswith(start)})
    strategy.memory = {name: value for name, value in begin.memory.items() if not name.startswith((ADAPTER, ANCHOR))}
    for name, value in begin.cost.items():
        setattr(strategy.cost, name, value)


def added(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Two profiles of the same stage as one."""
    return {part: first.get(part, 0.0) + seconds for part, seconds in second.items()}


def round_limit(client_timeout: float | None, start: float, clients: int, at_once: int) -> float:
    """Seconds for a round in which every client takes as long as it may, after `start` seconds each."""
    if client_timeout is None:
        return FOREVER
    return (client_timeout + start) * math.ceil(clients / at_once)


def worker_count(settings: Common) -> int:
    """How many workers there are."""
    if settings.workers == "auto":
        return int(joblib.cpu_count())  # those that this process may use, in a container as well
    return settings.workers


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
