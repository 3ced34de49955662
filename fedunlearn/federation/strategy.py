"""The server of one stage: a Flower Strategy that averages models, with the hooks by which a method changes it.

FedAvg after McMahan et al., AISTATS 2017: clients are weighted by the number of samples that they trained on.
Replies are added up one at a time in the order of the clients' numbers, so memory does not grow with the number of
clients and the same seed gives the same bits on every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from fedunlearn.errors import HopelessError, RunError, listed
from fedunlearn.federation import floor, replies, wire
from fedunlearn.federation.adapters import RECORD, FactorExchange
from fedunlearn.federation.clock import AGGREGATION, CLIENT_DATA, CLIENT_WORK, PREPARATION, WAITING, Stopwatch
from fedunlearn.federation.exchange import Exchange
from fedunlearn.federation.replies import DivergedError, ReplyError
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.totals import Total
from fedunlearn.models.base import Network
from fedunlearn.models.flat import Layout
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.config import TrainConfig

Tensors = dict[str, Tensor]
ROLL_CALL = "roll_call"  # the query that every client answers with its number
SELECT = "select"  # the query at which every client selects what it keeps for the stage, and says nothing of it
FOREVER = 1e9  # seconds
TRAVELS = ("model", RECORD)  # records whose bytes the exchange knows


@dataclass
class Cost:
    """What a stage cost. Bytes are array payload over all clients; samples are forward-backward passes."""

    rounds: int = 0
    seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    samples: int = 0
    failures: int = 0  # clients left out of a round or a vote: errors, too late, replies that do not fit
    profile: dict[str, float] = field(default_factory=dict)  # seconds by part (see `clock.breakdown`)


@dataclass(frozen=True)
class Asked:
    """How many clients were asked in a round, and for how many epochs."""

    count: int
    epochs: int
    waiting: dict[int, int] = field(default_factory=dict)  # node id -> client, of those that have not answered yet


class UnlearningStrategy(Strategy):
    """One stage's server. A method overrides the first functions; what it must remember is in three fields.

    `settings`: the method's hyper-parameters.

    `shared`: tensors that travel to the clients with the model in every round (prototypes, masks …). `memory`:
    tensors that stay on the server. `notes`: plain data for the summary. All three are part of the round checkpoint,
    so a stage resumes exactly. While a stage runs, `clients` can be queried in any round, `new_model(seed)` is a
    freshly initialised model, `sizes` are the numbers of samples that the clients hold, by number, and `first` is the
    model that the stage began with, if that is not the one that it goes on from (the engine provides all four).
    `layout`: how models lie in the vectors that travel, the same as that of the start. `factors`: what goes on from
    round to round where clients train adapters, and `anchor`: the weights that a floor holds on to, are also part of
    the checkpoint.
    """

    clients: Clients
    sizes: Sequence[int] = ()
    new_model: Callable[[int], Network]
    first: Tensors | None = None

    def __init__(self, settings: Any, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        self.settings, self.spec, self.pack, self.device = settings, spec, pack, device
        self.min_replies = 0.5
        self.shared: Tensors = {}
        self.memory: Tensors = {}
        self.notes: dict[str, Any] = {}
        self.cost = Cost()
        self.losses: list[float] = []  # of the last round, until the round's entry in the history is made
        self.left_out: list[str] = []  # why clients were left out, until the round's entry in the history is made
        self.watch = Stopwatch()
        self._roster: list[int] = []  # node id of client 0, 1, …
        self.layout = Layout({}, {}, {})
        self.factors: Tensors = {}
        self.anchor: Tensors = {}
        self._asked = Asked(0, 0)

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

    def capacity(self, client: int) -> float:
        """The largest number of samples that a client may say it trained on: as many as it holds.

        For methods whose substitutes for a client's data are more than these.
        """
        return self.sizes[client] if self.sizes else float("inf")

    def payload(self, content: RecordDict) -> int:
        """Bytes of a message of the round in progress, either way; for methods that would really send less."""
        return self._bytes(content)

    # Flower's side -----------------------------------------------------------------------------------------------

    def begin(self, grid: Grid, model: Tensors, resumed: bool) -> Tensors:
        """Learn who the clients are and, at a true start, let the method prepare."""
        self.watch.restart()
        self.layout = Layout.of(model)
        self._roster = self._roll_call(grid)
        self.clients = Clients(self, grid)
        if self.spec.floor and not resumed:
            self.anchor = floor.anchor(self.new_model(0), model)
        if self.spec.select:
            self._have_selected(model, resumed)
        start = model if resumed else self.prepare(model, self.clients)
        self._check_finite({**start, **self.shared})
        self.watch.lap(PREPARATION)
        return start

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterator[Message]:
        """One message per sampled client, made as it is sent."""
        self.watch.restart()
        number = self.cost.rounds + 1
        records = self._exchange.outgoing(number, self.before_round(number, self.named(arrays)))
        training = self.training(number)
        content = self._content(replace(self.spec, training=training), records, round=number)
        size = self.payload(content)
        chosen = sample(len(self._roster), self.spec.training.participation, self.spec, number)
        self._asked = Asked(len(chosen), training.local_epochs)
        for client in chosen:
            self.cost.bytes_down += size - self._exchange.held(client)
            self._asked.waiting[self._roster[client]] = client
            yield Message(content, self._roster[client], "train", group_id=str(number))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the models of the clients whose replies fit."""
        total, loss, answered = Total(), 0.0, 0
        problems: list[ReplyError] = []
        for reply in replies:
            self.watch.lap(WAITING)
            try:
                loss += self._take(reply, total)
                answered += 1
            except ReplyError as problem:
                problems.append(problem)
            self.watch.lap(AGGREGATION)
        self.watch.lap(WAITING)
        self._check_turnout(answered, problems)
        self.cost.rounds += 1
        self.on_totals(total.uploads)
        if total.weight == 0:  # nobody had anything to train on: the model stays
            return None, None
        self.losses.append(loss / total.weight)
        average = self._exchange.average(total)
        self._check_finite(average)
        model = self._held(self.after_round(self.cost.rounds, average))
        self._check_finite({**model, **self.shared})
        self.watch.lap(AGGREGATION)
        return self.pack(self.flat(model)), MetricRecord({"loss": loss / total.weight})

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

    def flat(self, model: Tensors) -> Tensors:
        """A model's vectors, which are what travels."""
        return self.layout.vectors(model, self.device)

    def named(self, arrays: ArrayRecord) -> Tensors:
        """The tensors in a record of vectors."""
        return self.layout.views(wire.unpack(arrays, self.device))

    def _held(self, model: Tensors) -> Tensors:
        """The model without the steps that are below the stage's floor."""
        return floor.kept(self.spec.floor, self.anchor, model) if self.spec.floor else model

    def _have_selected(self, model: Tensors, resumed: bool) -> None:
        """Have all clients select what they replay. To have them do it again after an interruption costs no bytes."""
        before = self.cost.bytes_down, self.cost.bytes_up
        self.clients.total(SELECT, self.first or model)
        if resumed:
            self.cost.bytes_down, self.cost.bytes_up = before

    def _content(self, spec: StageSpec, tensors: dict[str, Tensors], **task: str | int) -> RecordDict:
        record = ConfigRecord({"spec": spec.to_json(), "layout": self.layout.digest, **task})
        packed = {name: self.pack(values) for name, values in {**tensors, "shared": self.shared}.items()}
        return RecordDict({**packed, "task": record})

    def _bytes(self, content: RecordDict) -> int:
        """Bytes of all tensors in a message."""
        rest = (record for name, record in content.items() if name not in TRAVELS and isinstance(record, ArrayRecord))
        return self._exchange.payload(content) + sum(map(wire.payload, rest))

    def _take(self, message: Message, total: Total) -> float:
        """Add a client's reply to `total`; its loss, times its weight. Raises ReplyError, and then nothing is added."""
        asked, exchange = self._asked, self._exchange
        client = replies.sender(message, asked.waiting)
        limits = self.capacity(client), asked.epochs
        with _blaming(client):
            reply = replies.train_reply(message, client, exchange.sent, total.forms, *limits, self.device)
        self.cost.bytes_up += self.payload(message.content)
        self.cost.samples += reply.processed
        self.watch.add(CLIENT_DATA, reply.data_seconds)
        self.watch.add(CLIENT_WORK, reply.seconds - reply.data_seconds)
        if reply.trained == 0:
            return 0.0
        if self._listens:
            self.on_client_model(client, exchange.model_of(reply.model), reply.trained)
        total.add(exchange.summands(reply.model), reply.trained, reply.uploads)
        return reply.trained * reply.loss

    @cached_property
    def _exchange(self) -> Exchange:
        """What travels of a model; first asked for when the layout of models and the clients are known."""
        if self.spec.adapter is None:
            return Exchange(self.layout, self.device)
        told = self.spec.adapter, self.spec, self.new_model(0), self.layout
        return FactorExchange(*told, self.factors, len(self._roster), self.device)

    @property
    def _listens(self) -> bool:
        """Does the method want to hear of every client's model?"""
        return getattr(self.on_client_model, "__func__", None) is not UnlearningStrategy.on_client_model

    def _check_turnout(self, answered: int, problems: Sequence[ReplyError]) -> None:
        """Count the clients that are left out of the round. Raises RunError if too few are left."""
        silent = [f"client {client}: no answer in time" for client in sorted(self._asked.waiting.values())]
        said = [*silent, *map(str, problems)]
        self.left_out += said
        self.cost.failures += len(said)
        if answered < self.min_replies * self._asked.count or answered == 0:
            diverged = 2 * sum(isinstance(problem, DivergedError) for problem in problems) > len(said)
            number, asked = self.cost.rounds + 1, self._asked.count
            raise (HopelessError if diverged else RunError)(
                f"{self.spec.stage}: only {answered} of {asked} clients answered in round {number}"
                + (f"; the last failure: {said[-1]}" if said else "")
                + (f". {self.advice()}" if diverged else "")
            )

    def _check_finite(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises HopelessError for a model, or what is shared, that is not finite: it must not become a checkpoint."""
        if name := replies.infinite(tensors):
            raise HopelessError(self.diverged(f"tensor {name} is not finite"))

    def diverged(self, what: str) -> str:
        """The sentences that end a stage whose numbers are no numbers any more."""
        return f"{self.spec.stage}: {what} after round {self.cost.rounds}, so this round is not kept. {self.advice()}"

    def advice(self) -> str:
        """What to change when training diverges."""
        spec, kind = self.spec, self.spec.kind
        section = kind if kind == "repair" else "unlearn" if spec.stage == "unlearn" else "train"
        own = {f"{kind}.{name}": rate for name, rate in spec.settings.items() if name.endswith("lr")}
        rates = {**own, f"{section}.lr": spec.training.lr}
        given = [f"{name}={rate:g}" for name, rate in reversed(rates.items()) if rate is not None]
        return f"The steps are too long: try a smaller {listed(given)}"

    def _roll_call(self, grid: Grid) -> list[int]:
        """Which node is which client. A grid that has a `roster` is asked but once."""
        known: list[int] = getattr(grid, "roster", [])
        if known:
            return known
        content = self._content(self.spec, {"model": {}}, query=ROLL_CALL)
        answers = list(grid.send_and_receive(Message(content, node, "query") for node in grid.get_node_ids()))
        found = _numbered(answers)
        if self.sizes and len(found) != len(self.sizes):
            raise RunError(f"{len(found)} nodes answered the roll call of {len(self.sizes)} clients")
        if hasattr(grid, "roster"):
            grid.roster = found
        return found

    def query(self, grid: Grid, name: str, model: Tensors) -> Iterator[tuple[Tensors, str]]:
        """Every client's answer to the query `name` about `model`, in the order of their numbers.

        With each comes why it cannot be used: nothing, if it can. Those that do not answer at all come last.
        """
        content = self._content(self.spec, {"model": self.flat(model)}, query=name)
        size = self._bytes(content)
        waiting = {node: client for client, node in enumerate(self._roster)}
        like: wire.Forms | None = None
        for reply in grid.send_and_receive(Message(content, node, "query") for node in self._roster):
            self.cost.bytes_down += size
            try:
                client = replies.sender(reply, waiting)
                with _blaming(client):
                    answer = replies.answer(reply, client, like, self.device)
            except ReplyError as problem:
                yield {}, str(problem)
                continue
            like = wire.forms(answer) if like is None else like
            self.cost.bytes_up += self._bytes(reply.content)
            yield answer, ""
        yield from (({}, f"client {client}: no answer in time") for client in waiting.values())


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
        total, problems, answered = Total(), list[str](), 0
        for answer, problem in self.stage.query(self.grid, query, model):
            if problem:
                problems.append(problem)
            else:
                answered += 1
                total.add({}, 0.0, answer)
        self.stage.left_out += problems
        self.stage.cost.failures += len(problems)
        if answered < self.stage.min_replies * len(self) or answered == 0:
            raise RunError(
                f"{self.stage.spec.stage}: only {answered} of {len(self)} clients could answer {query!r}"
                + (f"; the last failure: {problems[-1]}" if problems else "")
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
        after_round(server_round, strategy.named(arrays))

    @app.main()
    def main(grid: Grid, context: object) -> None:
        start = strategy.begin(grid, model, resumed)
        arrays = strategy.pack(strategy.flat(start))
        strategy.start(grid, arrays, num_rounds=rounds, timeout=timeout, evaluate_fn=evaluate)

    return app


@contextmanager
def _blaming(client: int) -> Iterator[None]:
    """Give problems the name of the client, which errors of our own clients bring along."""
    name = f"client {client}: "
    try:
        yield
    except ReplyError as problem:
        raise type(problem)(name + str(problem).removeprefix(name)) from problem


def _numbered(answers: Sequence[Message]) -> list[int]:
    """The nodes that answered a roll call, in the order of their clients' numbers. Raises RunError."""
    if not answers:
        raise RunError("no clients answered the roll call: there are none")
    try:
        introduced = [replies.introduction(reply) for reply in answers]
    except ReplyError as problem:
        raise RunError(f"a client did not answer the roll call: {problem}") from problem
    numbered = dict(introduced)
    if len(numbered) < len(introduced):
        raise RunError("several nodes say that they are the same client: every one needs a partition-id of its own")
    if max(numbered) >= len(numbered):
        raise RunError(f"a node says that it is client {max(numbered)}, and {len(numbered)} nodes are clients 0, 1, …")
    return [numbered[number] for number in sorted(numbered)]
