"""The server of one stage: a Flower Strategy that averages models, with the hooks by which a method changes it.

FedAvg after McMahan et al., AISTATS 2017: clients are weighted by the number of samples that they trained on.
Replies are added up one at a time in the order of the clients' numbers, so memory does not grow with the number of
clients and the same seed gives the same bits on every engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from torch import Tensor
from torch.nn.utils import get_total_norm

from fedunlearn.errors import RunError
from fedunlearn.federation import wire
from fedunlearn.federation.clock import AGGREGATION, CLIENT_DATA, CLIENT_WORK, PREPARATION, WAITING, Stopwatch
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.totals import Total
from fedunlearn.models.base import Classifier
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.config import TrainConfig

Tensors = dict[str, Tensor]
FOREVER = 1e9  # seconds


@dataclass
class Cost:
    """What a stage cost. Bytes are array payload over all clients; samples are forward-backward passes."""

    rounds: int = 0
    seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    samples: int = 0
    failures: int = 0  # clients left out of a round or a vote: errors, too late, non-finite numbers
    profile: dict[str, float] = field(default_factory=dict)  # seconds by part (see `clock.breakdown`)


class UnlearningStrategy(Strategy):
    """One stage's server. A method overrides the first four functions; what it must remember is in three fields.

    `shared`: tensors that travel to the clients with the model in every round (prototypes, masks …). `memory`:
    tensors that stay on the server. `notes`: plain data for the summary. All three are part of the round checkpoint,
    so a stage resumes exactly. While a stage runs, `clients` can be queried in any round, and `new_model(seed)` is a
    freshly initialised model (the engine provides both).
    """

    clients: Clients
    new_model: Callable[[int], Classifier]

    def __init__(self, spec: StageSpec, pack: wire.Pack, device: torch.device, min_replies: float = 0.5) -> None:
        self.spec, self.pack, self.device, self.min_replies = spec, pack, device, min_replies
        self.shared: Tensors = {}
        self.memory: Tensors = {}
        self.notes: dict[str, Any] = {}
        self.cost = Cost()
        self.losses: list[float] = []  # of the last round, until the round's entry in the history is made
        self.left_out: list[str] = []  # why clients were left out of the last round
        self.watch = Stopwatch()
        self._roster: list[int] = []  # node id of client 0, 1, …
        self._like: Tensors = {}
        self._asked = 0

    # What a method may change ------------------------------------------------------------------------------------

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Called once before the first round; returns the model to start from. `clients` can be queried."""
        return model

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """The model that the clients of round `number` (1, 2, …) get, given the global model."""
        return model

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """The new global model, given the average of what the clients of round `number` sent back."""
        return model

    def training(self, number: int) -> TrainConfig:
        """How the clients of round `number` train: as asked for, unless a phase of the method has a pace of its own."""
        return self.spec.training

    def on_client_model(self, client: int, model: Tensors, weight: float) -> None:
        """Called with every client's model before it is averaged; `weight` is the number of samples it trained on."""

    def on_totals(self, totals: Tensors) -> None:
        """Called after every round with the clients' uploads added up."""

    def payload(self, content: RecordDict) -> int:
        """Bytes of a message of the round in progress, either way; for methods that would really send less."""
        return _payload(content)

    # Flower's side -----------------------------------------------------------------------------------------------

    def begin(self, grid: Grid, model: Tensors, resumed: bool) -> Tensors:
        """Learn who the clients are and, at a true start, let the method prepare."""
        self.watch.restart()
        self._like = model
        self._roster = self._roll_call(grid)
        self.clients = Clients(self, grid)
        start = model if resumed else self.prepare(model, self.clients)
        self.watch.lap(PREPARATION)
        return start

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterator[Message]:
        """One message per sampled client, made as it is sent."""
        self.watch.restart()
        number = self.cost.rounds + 1
        model = self.before_round(number, wire.unpack(arrays, self.device))
        spec = replace(self.spec, training=self.training(number))
        content = self._content(spec, self.pack(model), round=number)
        size = self.payload(content)
        chosen = sample(len(self._roster), self.spec.training.participation, self.spec, number)
        self._asked = len(chosen)
        for client in chosen:
            self.cost.bytes_down += size
            yield Message(content, self._roster[client], "train", group_id=str(number))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the models of the clients that answered."""
        total, loss, answered = Total(), 0.0, 0
        self.left_out = []
        for reply in replies:
            self.watch.lap(WAITING)
            problem = _problem(reply)
            if problem:
                self.left_out.append(problem)
            else:
                answered += 1
                loss += self._take(reply, total)
            self.watch.lap(AGGREGATION)
        self.watch.lap(WAITING)
        self._check_turnout(answered)
        self.cost.rounds += 1
        self.on_totals(total.uploads)
        if total.weight == 0:  # nobody had anything to train on: the model stays
            return None, None
        self.losses.append(loss / total.weight)
        model = self.after_round(self.cost.rounds, total.mean(self._like))
        self.watch.lap(AGGREGATION)
        return self.pack(model), MetricRecord({"loss": loss / total.weight})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Clients are not asked to evaluate: the server holds the test split in a simulation."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing to aggregate (see `configure_evaluate`)."""
        return None

    def summary(self) -> None:
        """Flower calls this to log the strategy; our own console says what runs."""

    # Helpers -----------------------------------------------------------------------------------------------------

    def _content(self, spec: StageSpec, arrays: ArrayRecord, **task: str | int) -> RecordDict:
        record = ConfigRecord({"spec": spec.to_json(), **task})
        return RecordDict({"model": arrays, "shared": self.pack(self.shared), "task": record})

    def _take(self, reply: Message, total: Total) -> float:
        """Add a client's reply to `total`; its loss, times its weight."""
        metric = partial(wire.number, reply.content, "metrics")
        self.cost.bytes_up += self.payload(reply.content)
        self.cost.samples += int(metric("processed"))
        self.watch.add(CLIENT_DATA, metric("data-seconds"))
        self.watch.add(CLIENT_WORK, metric("seconds") - metric("data-seconds"))
        weight = metric("trained")
        if weight == 0:
            return 0.0
        state = wire.tensors(reply.content, "model", self.device)
        self.on_client_model(_number(reply), state, weight)
        total.add(state, weight, wire.tensors(reply.content, "uploads", self.device))
        return weight * metric("loss")

    def _check_turnout(self, answered: int) -> None:
        """Count the clients that are left out of the round. Raises RunError if too few are left."""
        silent = self._asked - answered - len(self.left_out)
        self.left_out = ["no answer in time"] * silent + self.left_out
        self.cost.failures += len(self.left_out)
        if answered < self.min_replies * self._asked or answered == 0:
            raise RunError(
                f"{self.spec.stage}: only {answered} of {self._asked} clients answered in round {self.cost.rounds + 1}"
                + (f"; the last failure: {self.left_out[-1]}" if self.left_out else "")
            )

    def _roll_call(self, grid: Grid) -> list[int]:
        """Which node is which client. A grid that has a `roster` is asked but once."""
        known: list[int] = getattr(grid, "roster", [])
        if known:
            return known
        content = self._content(self.spec, self.pack({}), query="roll_call")
        replies = list(grid.send_and_receive(Message(content, node, "query") for node in grid.get_node_ids()))
        lost = [problem for problem in map(_problem, replies) if problem]
        if lost or not replies:
            raise RunError(f"{len(lost)} clients did not answer the roll call: {lost[0] if lost else 'there are none'}")
        numbered = {_number(reply): reply.metadata.src_node_id for reply in replies}
        if len(numbered) < len(replies):
            raise RunError("several nodes say that they are the same client: every one needs a partition-id of its own")
        found = [numbered[number] for number in sorted(numbered)]
        if hasattr(grid, "roster"):
            grid.roster = found
        return found

    def query(self, grid: Grid, name: str, model: Tensors) -> Iterator[tuple[Tensors, str]]:
        """Every client's answer to the query `name` about `model`, in the order of their numbers.

        With each comes why it cannot be used: nothing, if it can.
        """
        content = self._content(self.spec, self.pack(model), query=name)
        size = _payload(content)
        for reply in grid.send_and_receive(Message(content, node, "query") for node in self._roster):
            self.cost.bytes_down += size
            problem = _problem(reply)
            if not problem:
                self.cost.bytes_up += _payload(reply.content)
            yield ({}, problem) if problem else (wire.tensors(reply.content, "uploads", self.device), "")


@dataclass(frozen=True)
class Clients:
    """All clients of a stage, for a method's server to ask."""

    stage: UnlearningStrategy
    grid: Grid

    def __len__(self) -> int:
        return len(self.stage._roster)

    def each(self, query: str, model: Tensors) -> Iterator[Tensors]:
        """Their answers to `query` about `model`, one by one. Raises RunError if one of them does not answer."""
        for answer, problem in self.stage.query(self.grid, query, model):
            if problem:
                raise RunError(f"{self.stage.spec.stage}: a client could not answer {query!r}: {problem}")
            yield answer

    def total(self, query: str, model: Tensors) -> Tensors:
        """Their answers, added up over those that answer. Raises RunError if too few do."""
        total, problems, answered = Total(), [""], 0
        for answer, problem in self.stage.query(self.grid, query, model):
            if problem:
                problems.append(problem)
            else:
                answered += 1
                total.add({}, 0.0, answer)
        self.stage.cost.failures += len(self) - answered
        if answered < self.stage.min_replies * len(self) or answered == 0:
            raise RunError(
                f"{self.stage.spec.stage}: only {answered} of {len(self)} clients could answer {query!r}; "
                f"the last failure: {problems[-1]}"
            )
        return total.uploads


def sample(clients: int, participation: float, spec: StageSpec, server_round: int) -> list[int]:
    """The numbers of the clients asked in a round, sorted; at least one."""
    count = max(1, round(participation * clients))
    stream = numpy_stream(spec.seed, spec.stage, "clients", server_round)
    return sorted(int(number) for number in stream.choice(clients, count, replace=False))


def server_app(
    strategy: UnlearningStrategy,
    model: Tensors,
    rounds: int,
    resumed: bool,
    after_round: Callable[[int, Tensors], None],
    timeout: float = FOREVER,
) -> ServerApp:
    """The Flower ServerApp of a stage; `after_round(k, state)` is called with k = 0 before the first round.

    `timeout`: seconds for a round, for grids that do not look after their clients themselves.
    """
    app = ServerApp()

    def evaluate(server_round: int, arrays: ArrayRecord) -> None:
        after_round(server_round, wire.unpack(arrays, strategy.device))

    @app.main()
    def main(grid: Grid, context: object) -> None:
        start = strategy.begin(grid, model, resumed)
        strategy.start(grid, strategy.pack(start), num_rounds=rounds, timeout=timeout, evaluate_fn=evaluate)

    return app


def _number(reply: Message) -> int:
    return int(wire.number(reply.content, "metrics", "partition-id"))


def _payload(content: RecordDict) -> int:
    return sum(wire.payload(record) for record in content.array_records.values())


def _problem(reply: Message) -> str:
    """Why a reply cannot be used, or nothing."""
    if reply.has_error():
        lines = (reply.error.reason or "no reason given").strip().splitlines()
        return lines[-1] if lines else "no reason given"
    for record in reply.content.array_records.values():
        held = wire.unpack(record, torch.device("cpu"))
        floating = {name: tensor for name, tensor in held.items() if tensor.is_floating_point()}
        # Infinities and NaN survive a norm, which takes one pass; a norm that overflows by itself is looked into.
        if not math.isfinite(get_total_norm(floating.values())):
            for name, tensor in floating.items():
                if not tensor.isfinite().all():
                    return f"{name} is not finite"
    return ""
