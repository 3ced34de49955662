"""Flower's Grid inside one process: the same ServerApp and ClientApp, on worker threads, without sockets or Ray.

Replies come lazily and in the order in which the messages were sent, with at most two messages per worker in flight:
a server that adds up replies as they come needs memory for a few of them, however many clients there are.
"""

from __future__ import annotations

import itertools
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from threading import Event
from typing import Protocol

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
Work = Call[list[Message]]


class Stacks(Protocol):
    """Answers several messages at once."""

    def split(self, messages: Iterable[Message]) -> Iterator[list[Message]]:
        """The messages in groups, in an order that is the same every time."""

    def answer(self, group: list[Message], contexts: list[Context]) -> list[Message] | None:
        """The replies to a group of at least two messages, in its order, exceptions as error replies.

        None if they have to be answered one by one.
        """


class LocalGrid(Grid):
    """Runs `clients` clients of `app` on `workers` threads. `stop` is set when the grid is closed early.

    A client that has been at work for `limit` seconds and a little is given up: its reply is an error. `stacks`, if
    given, answers several messages at once.
    """

    def __init__(
        self,
        app: ClientApp,
        clients: int,
        workers: int,
        stop: Event,
        limit: float | None = None,
        stacks: Stacks | None = None,
    ) -> None:
        # Flower's Message reads the sender from this process-wide record; its own simulation sets it the same way.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SUPERLINK_NODE_ID, 1
        self._app, self._clients, self._window, self._stop = app, clients, 2 * workers, stop
        self._limit, self._stacks = limit, stacks
        self.roster = list(range(FIRST_NODE, FIRST_NODE + clients))  # node ids of client 0, 1, …
        self._workers = Workers(workers)
        self._states: dict[int, RecordDict] = {}  # of the clients that keep something between messages
        self._numbers = itertools.count(1)
        self._pushed: dict[str, tuple[Message, Work]] = {}
        self._run = Run.create_empty(RUN_ID)

    def __enter__(self) -> LocalGrid:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self._stop.set()
        self._workers.close()

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
        pushed = [(message, self._submit([message])) for message in messages]
        self._pushed.update({message.metadata.message_id: (message, work) for message, work in pushed})
        return [message.metadata.message_id for message, _ in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are ready, each handed out once."""
        ready = [name for name in message_ids if name in self._pushed and self._pushed[name][1].done()]
        pulled = [self._pushed.pop(name) for name in ready]
        return [reply for message, work in pulled for reply in self._collect([message], work)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Replies in the order of `messages`, lazily: a message is made when a worker is about to be free for it.

        Stacks have an order of their own, the same every time. `timeout` is for grids that cannot watch every client.
        """
        waiting: deque[tuple[list[Message], Work]] = deque()
        groups = self._stacks.split(messages) if self._stacks else ([message] for message in messages)
        for group in groups:
            waiting.append((group, self._submit(group)))
            if len(waiting) >= self._window:
                yield from self._collect(*waiting.popleft())
        while waiting:
            yield from self._collect(*waiting.popleft())

    def _submit(self, group: list[Message]) -> Work:
        for message in group:
            # Flower's own in-memory grid stamps messages this way.
            message.metadata.__dict__["_message_id"] = str(next(self._numbers))
        return self._workers.submit(lambda: self._answer(group))

    def _collect(self, group: list[Message], work: Work) -> list[Message]:
        limit = None if self._limit is None else self._limit * len(group) + GRACE
        try:
            return work.result(limit)
        except Overdue:
            self._workers.give_up(work)
            late = TimeoutError(f"no answer after {limit:g} s")
            return [error_reply(message, late) for message in group]

    def _answer(self, group: list[Message]) -> list[Message]:
        """Run the app as Flower's engines do: an exception becomes an error reply, and its state is dropped."""
        contexts = [self._context(message.metadata.dst_node_id) for message in group]
        replies = self._stacks.answer(group, contexts) if self._stacks and len(group) > 1 else None
        if replies is None:
            replies = [self._single(message, context) for message, context in zip(group, contexts, strict=True)]
        for reply, context in zip(replies, contexts, strict=True):
            if context.state and not reply.has_error():
                self._states[context.node_id] = context.state
        return replies

    def _context(self, node: int) -> Context:
        state = self._states.get(node, RecordDict()).copy()
        return Context(RUN_ID, node, {"partition-id": node - FIRST_NODE, "num-partitions": self._clients}, state, {})

    def _single(self, message: Message, context: Context) -> Message:
        try:
            return self._app(message, context)
        except Interrupted:
            raise
        except Exception as error:
            return error_reply(message, error)


def error_reply(message: Message, error: Exception) -> Message:
    """What the server gets instead of a reply; the last line of the reason says which client and why."""
    number = message.metadata.dst_node_id - FIRST_NODE
    trace = "".join(traceback.format_exception(error))
    reason = f"{trace}client {number}: {type(error).__name__}: {error}"
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
