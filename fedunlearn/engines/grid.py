"""Flower's Grid on one machine: the same ServerApp and ClientApp, on threads or processes, without Ray.

Replies come lazily and in the order in which the messages were sent, with at most two messages per worker in flight:
a server that adds up replies as they come needs memory for a few of them, however many clients there are.
"""

from __future__ import annotations

import itertools
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedunlearn.engines.base import GRACE
from fedunlearn.engines.workers import Call, Overdue, Workers
from fedunlearn.federation.sgd import Interrupted

RUN_ID = 1
FIRST_NODE = SUPERLINK_NODE_ID + 1  # node ids start above the server's own
# Replies to messages, in their order, exceptions as error replies; contexts are changed as Flower's apps change them.
Answer = Callable[[list[Message], list[Context]], list[Message]]


class Work(Protocol):
    """Messages that are being answered."""

    def done(self) -> bool:
        """Are they answered?"""

    def result(self, limit: float | None = None) -> list[Message]:
        """The replies, once they are there. Raises Overdue if a worker has been at it for `limit` seconds."""


class Crew(Protocol):
    """Workers, each of which answers messages to one client, or one stack of clients, at a time."""

    @property
    def count(self) -> int:
        """How many."""

    def submit(self, group: list[Message], contexts: list[Context]) -> Any:
        """Have `group` answered as soon as a worker is free; what this returns is Work."""

    def give_up(self, work: Any) -> None:
        """Put another worker in the place of the one that is at `work` and does not come back."""

    def close(self, early: bool) -> None:
        """Let the workers go; `early`: nobody wants to know what they are still at work on."""


class Stacks(Protocol):
    """Answers several messages at once."""

    def split(self, messages: Iterable[Message]) -> Iterator[list[Message]]:
        """The messages in groups, in an order that is the same every time."""

    def answer(self, group: list[Message], contexts: list[Context]) -> list[Message] | None:
        """The replies to a group of at least two messages, in its order, exceptions as error replies.

        None if they have to be answered one by one.
        """


class Threads:
    """Worker threads in this process. `stop` is set when they are let go early."""

    def __init__(self, answer: Answer, count: int, stop: Event) -> None:
        self.count, self._answer, self._stop = count, answer, stop
        self._workers = Workers(count)

    def submit(self, group: list[Message], contexts: list[Context]) -> Call[list[Message]]:
        """As in Crew."""
        return self._workers.submit(lambda: self._answer(group, contexts))

    def give_up(self, work: Call[list[Message]]) -> None:
        """As in Crew; the thread goes on until its call returns."""
        self._workers.give_up(work)

    def close(self, early: bool) -> None:
        """As in Crew; threads that are at work give up between two batches."""
        if early:
            self._stop.set()
        self._workers.close()


class LocalGrid(Grid):
    """Runs `clients` clients on a crew, which is let go with the grid.

    A client that has been at work for `limit` seconds and a little is given up: its reply is an error. `stacks`, if
    given, says which messages are answered together.
    """

    def __init__(self, crew: Crew, clients: int, limit: float | None = None, stacks: Stacks | None = None) -> None:
        introduce()
        self._crew, self._clients, self._limit, self._stacks = crew, clients, limit, stacks
        self.roster = list(range(FIRST_NODE, FIRST_NODE + clients))  # node ids of client 0, 1, …
        self._states: dict[int, RecordDict] = {}  # of the clients that keep something between messages
        self._numbers = itertools.count(1)
        self._pushed: dict[str, Given] = {}
        self._run = Run.create_empty(RUN_ID)

    def __enter__(self) -> LocalGrid:
        return self

    def __exit__(self, *exception: object) -> None:
        self._crew.close(early=exception[0] is not None)

    def set_run(self, run: Run) -> None:
        """Flower's own grids are told their run; this one has a single one."""
        self._run = run

    @property
    def run(self) -> Run:
        """The only run there is."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to a client (part of Flower's interface; `Message(...)` does the same)."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """All clients, in the order of their numbers."""
        return self.roster

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Start work on messages; the ids fetch the replies."""
        pushed = [self._submit([message]) for message in messages]
        names = [given.group[0].metadata.message_id for given in pushed]
        self._pushed.update(zip(names, pushed, strict=True))
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are ready, each handed out once."""
        ready = [name for name in message_ids if name in self._pushed and self._pushed[name].work.done()]
        return [reply for name in ready for reply in self._collect(self._pushed.pop(name))]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Replies in the order of `messages`, lazily: a message is made when a worker is about to be free for it.

        Stacks have an order of their own, the same every time. `timeout` is for grids that cannot watch every client.
        """
        waiting: deque[Given] = deque()
        groups = self._stacks.split(messages) if self._stacks else ([message] for message in messages)
        for group in groups:
            waiting.append(self._submit(group))
            if len(waiting) >= 2 * self._crew.count:
                yield from self._collect(waiting.popleft())
        while waiting:
            yield from self._collect(waiting.popleft())

    def _submit(self, group: list[Message]) -> Given:
        for message in group:
            # Flower's own in-memory grid stamps messages this way.
            message.metadata.__dict__["_message_id"] = str(next(self._numbers))
        nodes = [message.metadata.dst_node_id for message in group]
        contexts = [context(node, self._clients, self._states.get(node, RecordDict()).copy()) for node in nodes]
        return Given(group, contexts, self._crew.submit(group, contexts))

    def _collect(self, given: Given) -> list[Message]:
        """The replies. As in Flower's engines, the state that a client leaves with an error is dropped."""
        limit = None if self._limit is None else self._limit * len(given.group) + GRACE
        try:
            replies = given.work.result(limit)
        except Overdue:
            self._crew.give_up(given.work)
            late = TimeoutError(f"no answer after {limit:g} s")
            return [error_reply(message, late) for message in given.group]
        for reply, context in zip(replies, given.contexts, strict=True):
            if context.state and not reply.has_error():
                self._states[context.node_id] = context.state
        return replies


@dataclass(frozen=True)
class Given:
    """What a crew was given to do."""

    group: list[Message]
    contexts: list[Context]
    work: Work


def introduce() -> None:
    """Be the server. Flower's Message reads the sender from this process-wide record; Flower's own simulation sets it
    the same way."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SUPERLINK_NODE_ID, 1


def context(node: int, clients: int, state: RecordDict) -> Context:
    """What the client at `node`, one of `clients`, knows of itself; `state` is what it kept."""
    return Context(RUN_ID, node, {"partition-id": node - FIRST_NODE, "num-partitions": clients}, state, {})


def answers(app: ClientApp, stacks: Stacks | None = None) -> Answer:
    """Messages answered by `app`, one by one, or where possible together by `stacks`."""

    def single(message: Message, context: Context) -> Message:
        try:
            return app(message, context)
        except Interrupted:
            raise
        except Exception as error:
            return error_reply(message, error)

    def answer(group: list[Message], contexts: list[Context]) -> list[Message]:
        together = stacks.answer(group, contexts) if stacks and len(group) > 1 else None
        return together or [single(message, context) for message, context in zip(group, contexts, strict=True)]

    return answer


def error_reply(message: Message, error: Exception) -> Message:
    """What the server gets instead of a reply; the last line of the reason says which client and why."""
    number = message.metadata.dst_node_id - FIRST_NODE
    trace = "".join(traceback.format_exception(error))
    reason = f"{trace}client {number}: {type(error).__name__}: {error}"
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
