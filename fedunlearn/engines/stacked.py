"""engine=stacked: worker threads in this process, each training many clients as one.

Here are groups of clients, their size, and what to do when that does not work; `engines.stacking` has the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any, Literal

import torch
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import ServerApp
from torch import Tensor

from fedunlearn.engines import stacking
from fedunlearn.engines.base import Engine, Say, Workers, worker_count
from fedunlearn.engines.grid import FIRST_NODE, LocalGrid, Threads, answers, error_reply
from fedunlearn.federation import wire
from fedunlearn.federation.client import (
    Briefing,
    Briefings,
    augmenter_of,
    batch_order,
    client_app,
    client_of,
    deadline,
    remember,
    train_reply,
    work_of,
)
from fedunlearn.federation.federation import ClientData, Federation
from fedunlearn.federation.objective import RoundContext, Tensors
from fedunlearn.federation.sgd import Interrupted, Trained
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import Count, Positive, Share

ON_CPU = 8  # clients in a stack where memory is no guide
MOST = 256
SPARE = 0.7  # share of the free memory of a GPU that a stack may fill
# Of the parameters, for every client: value, gradient, what the optimiser remembers (AdamW: twice), two temporary
# ones, and the reply.
COPIES = 7


@dataclass(frozen=True)
class Stacked:
    """Settings."""

    workers: Workers = "auto"  # stacks trained at a time on a CPU; auto: one per core. On a GPU, one at a time
    client_timeout: Positive | None = None  # seconds for each client of a stack, or all are left out; null: no limit
    min_replies: Share = 0.5  # share of the clients asked that must answer, or the run stops (the same command goes on)
    profile: bool = False  # show where the rounds' time went: a table, and figures/profile.png
    stack: Count | Literal["auto"] = "auto"  # clients in a stack; auto: what the GPU's free memory takes, 8 on a CPU
    precision: Literal["float32", "bfloat16"] = "float32"  # of the models' products; all else is in float32
    compile: bool = False  # have torch.compile make the step: minutes at the start, less for every step after


@dataclass(frozen=True)
class Member:
    """A client of a stack: the message to it, and what it brings."""

    message: Message
    context: Context
    client: ClientData
    portion: stacking.Portion


class StackedClients:
    """Trains clients in stacks. What cannot be stacked is left to the grid; `say` tells the user why, once."""

    def __init__(
        self,
        federation: Federation,
        pack: wire.Pack,
        settings: Stacked,
        stopped: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._federation, self._pack, self._settings = federation, pack, settings
        self._stopped, self._say = stopped, say
        self._lock, self._briefings = Lock(), Briefings()
        self._told, self._idle = "", list[stacking.Gradients]()  # for the spec of the round; each serves one thread
        self._size = 0  # of a stack; 0: not known yet
        self._refused = ""

    def split(self, messages: Iterable[Message]) -> Iterator[list[Message]]:
        """Clients of about the same size together, the largest first; whatever is not training one by one."""
        waiting = list(messages)
        if not waiting or waiting[0].metadata.message_type != "train" or self._unfit(_spec(waiting[0])):
            yield from ([message] for message in waiting)
            return
        parts = self._federation.of_stage(_spec(waiting[0])).parts
        waiting.sort(key=lambda message: -len(parts[_number(message)]))
        self._size = self._size or self._choose_size(waiting[0])
        while waiting:
            size = self._size  # smaller from group to group if memory runs out
            yield waiting[:size]
            waiting = waiting[size:]

    def answer(self, group: list[Message], contexts: list[Context]) -> list[Message] | None:
        """The replies to a group, in its order; None if its clients have to be trained one by one."""
        if self._refused:
            return None
        try:
            return self._together(group, contexts)
        except Interrupted:
            raise
        except TimeoutError as error:
            return [error_reply(message, error) for message in group]
        except torch.OutOfMemoryError as error:
            if len(group) == 1:
                self._refuse(f"not even a stack of one fits into memory ({_first_line(error)})")
                return None
        except Exception as error:  # PyTorch cannot vectorise everything, and says so in many ways
            self._refuse(f"{type(error).__name__}: {_first_line(error)}")
            return None
        size = len(group) // 2
        self._shrink(size)
        parts = [slice(start, start + size) for start in range(0, len(group), size)]
        answers = [self.answer(group[part], contexts[part]) for part in parts]
        return None if None in answers else [reply for replies in answers for reply in replies or ()]

    def _together(self, group: list[Message], contexts: list[Context]) -> list[Message]:
        started = time.perf_counter()
        limit = self._settings.client_timeout
        check = deadline(self._stopped, None if limit is None else limit * len(group))
        briefing, text = self._briefings.of(group[0].content, self._federation), _text(group[0])
        training, received = briefing.work.spec.training, briefing.received
        gradients = self._borrow(text)
        context = gradients.context(briefing.round, briefing.shared, received)
        try:
            load(gradients.model, received)
            brought = [self._bring(*pair, briefing, gradients, context) for pair in zip(group, contexts, strict=True)]
            members = [member for member in brought if isinstance(member, Member)]
            portions = [member.portion for member in members]
            trained = iter(stacking.train(gradients, portions, context, training, check))
            seconds = (time.perf_counter() - started) / max(1, len(members))
            return [
                self._reply(member, *next(trained), gradients, context, seconds)
                if isinstance(member, Member)
                else member
                for member in brought
            ]
        finally:
            self._give_back(text, gradients)

    def _bring(
        self,
        message: Message,
        context: Context,
        briefing: Briefing,
        gradients: stacking.Gradients,
        known: RoundContext,
    ) -> Member | Message:
        """What a client brings to the stack; if it fails to, the reply that says why."""
        try:
            client = client_of(briefing, context, self._federation)
            objective, model = gradients.objective, gradients.model
            model.eval()
            data = objective.substitute(model, client) if objective.substitute else client
            decided = objective.assign(model, data, known)
            order = batch_order(briefing, client.number)
            augmenter = augmenter_of(briefing, client.number)
            portion = stacking.portion(data, decided, briefing.work.spec.training, order, augmenter)
        except Exception as error:
            return error_reply(message, error)
        return Member(message, context, client, portion)

    def _reply(
        self,
        member: Member,
        state: Tensors,
        outcome: Trained,
        gradients: stacking.Gradients,
        known: RoundContext,
        seconds: float,
    ) -> Message:
        started = time.perf_counter()
        try:
            load(gradients.model, state)
            known = replace(known, passes=outcome.passes)
            uploads = gradients.objective.uploads(gradients.model, member.client, known)
        except Exception as error:
            return error_reply(member.message, error)
        remember(member.client, _spec(member.message), member.context, self._pack)
        seconds += time.perf_counter() - started
        vectors = self._federation.models.layout.vectors(state, self._federation.device)
        content = train_reply(member.client.number, outcome, seconds, self._pack(vectors), self._pack(uploads))
        return Message(content, reply_to=member.message)

    def _borrow(self, text: str) -> stacking.Gradients:
        with self._lock:
            if text != self._told:
                self._told, self._idle = text, []
            if self._idle:
                return self._idle.pop()
        model, task = self._federation.models.fresh(0), self._federation.task
        bf16 = self._settings.precision == "bfloat16"
        return stacking.Gradients(model, task, work_of(text).objective, bf16, self._settings.compile)

    def _give_back(self, text: str, gradients: stacking.Gradients) -> None:
        with self._lock:
            if text == self._told:
                self._idle.append(gradients)

    def _unfit(self, spec: StageSpec) -> bool:
        """Can the model, or how it is trained, not be stacked at all?"""
        if spec.adapter:
            self._refuse("adapters have no stacked step")
        if not self._refused:
            with self._federation.models.borrowed() as model:
                self._refuse(stacking.refusal(model.train().modules()))
        return bool(self._refused)

    def _refuse(self, reason: str) -> None:
        with self._lock:
            if reason and not self._refused:
                self._refused = reason
                self._say(f"clients are trained one by one, not stacked: {reason}")

    def _shrink(self, size: int) -> None:
        with self._lock:
            if size < self._size:
                self._size = size
                self._say(f"out of memory: from now on {size} clients in a stack")
        if self._federation.device.type == "cuda":
            torch.cuda.empty_cache()

    def _choose_size(self, message: Message) -> int:
        """How many clients fit into a stack: as asked for, or as many as the free memory of the GPU takes."""
        if self._settings.stack != "auto":
            return self._settings.stack
        if self._federation.device.type != "cuda":
            return ON_CPU
        text, spec = _text(message), _spec(message)
        client = self._federation.of_stage(spec).client(_number(message))
        gradients = self._borrow(text)
        batch = torch.arange(min(len(client), spec.training.batch_size + 1), device=self._federation.device)
        held = gradients.held_bytes(client.inputs(batch))
        weights = sum(value.numel() * value.element_size() for value in gradients.model.state_dict().values())
        self._give_back(text, gradients)
        free, _ = torch.cuda.mem_get_info(self._federation.device)
        return max(1, min(MOST, int(SPARE * free / (COPIES * weights + 2 * held))))


@torch.no_grad()
def load(model: Network, values: Mapping[str, Tensor]) -> None:
    """Give a model these values."""
    for name, held in model.state_dict().items():  # load_state_dict does the same, slowly
        held.copy_(values[name])


def _text(message: Message) -> str:
    return str(message.content["task"]["spec"])


def _spec(message: Message) -> StageSpec:
    return work_of(_text(message)).spec


def _number(message: Message) -> int:
    return message.metadata.dst_node_id - FIRST_NODE


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def run(app: ServerApp, federation: Federation, config: RunConfig, say: Say) -> None:
    """All clients in this process, many at a time."""
    stop, settings = Event(), config.engine.settings
    limit, pack = settings.client_timeout, wire.by_reference
    clients = client_app(lambda: federation, pack, stop.is_set, limit)
    stacks = StackedClients(federation, pack, settings, stop.is_set, say)
    workers = 1 if federation.device.type == "cuda" else worker_count(settings)  # a stack fills a GPU by itself
    crew = Threads(answers(clients, stacks), workers, stop)
    with LocalGrid(crew, len(federation.parts), limit, stacks) as grid:
        app(grid, Context(1, 1, {}, RecordDict(), {}))


def traits(settings: Stacked) -> dict[str, Any]:
    """Sums in another order than the other engines', and what else changes them."""
    return {"precision": settings.precision, "compile": settings.compile}


ENGINES = {
    "stacked": Engine(
        "stacked",
        Stacked,
        run,
        wire.by_reference,
        traits=traits,
        about="worker threads in this process, each training many clients as one: for GPUs and small models",
    )
}
