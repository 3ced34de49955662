"""Flower's Grid inside one process: the same ServerApp and ClientApp, on worker threads, without sockets or Ray.

Replies come lazily and in the order in which the messages were sent, with at most two messages per worker in flight:
a server that adds up replies as they come needs memory for a few of them, however many clients there are.
"""

from __future__ import annotations

import itertools
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedunlearn.federation.local import Interrupted

RUN_ID = 1
FIRST_NODE = SUPERLINK_NODE_ID + 1  # node ids start above the server's own


class LocalGrid(Grid):
    """Runs `clients` clients of `app` on `workers` threads. `stop` is set when the grid is closed early."""

    def __init__(self, app: ClientApp, clients: int, workers: int, stop: Event) -> None:
        # Flower's Message reads the sender from this process-wide record; its own simulation sets it the same way.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SUPERLINK_NODE_ID, 1
        self._app, self._clients, self._workers, self._stop = app, clients, workers, stop
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="client")
        self._states: dict[int, RecordDict] = {}  # what clients keep between messages; only of those that keep something
        self._numbers = itertools.count(1)
        self._pushed: dict[str, Future[Message]] = {}
        self._run = Run.create_empty(RUN_ID)

    def __enter__(self) -> LocalGrid:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

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
        return list(range(FIRST_NODE, FIRST_NODE + self._clients))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Start work on messages; the ids fetch the replies."""
        pushed = [(self._stamp(message), self._submit(message)) for message in messages]
        self._pushed.update(pushed)
        return [name for name, _ in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are ready, each handed out once."""
        ready = [name for name in message_ids if name in self._pushed and self._pushed[name].done()]
        return [self._pushed.pop(name).result() for name in ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Replies in the order of `messages`, lazily: a message is made when a worker is about to be free for it."""
        waiting: deque[Future[Message]] = deque()
        for message in messages:
            self._stamp(message)
            waiting.append(self._submit(message))
            if len(waiting) >= 2 * self._workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _stamp(self, message: Message) -> str:
        name = str(next(self._numbers))
        message.metadata.__dict__["_message_id"] = name  # Flower's own in-memory grid stamps it this way
        return name

    def _submit(self, message: Message) -> Future[Message]:
        return self._pool.submit(self._answer, message)

    def _answer(self, message: Message) -> Message:
        """Run the app as Flower's engines do: an exception becomes an error reply, and its state is dropped."""
        node = message.metadata.dst_node_id
        number = node - FIRST_NODE
        state = self._states.get(node, RecordDict()).copy()
        context = Context(RUN_ID, node, {"partition-id": number, "num-partitions": self._clients}, state, {})
        try:
            reply = self._app(message, context)
        except Interrupted:
            raise
        except Exception as error:
            reason = f"{traceback.format_exc()}client {number}: {type(error).__name__}: {error}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
        if context.state:
            self._states[node] = context.state
        return reply
