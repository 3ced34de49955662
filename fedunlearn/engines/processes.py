"""Worker processes: copies of this one (forks), which no lock of the interpreter's holds up.

A fork has the federation without copying it, and everything that is imported, within some hundredths of a second. What
a fork does not have is the other threads of its parent, and a lock that one of them held is never released in it. So:

- Forked is where no other thread of ours computes: at the beginning of a stage, and where a lost worker is replaced
  (the parent has no threads for its workers, one loop serves them all). Who else computes in this process, we cannot
  know outside the main thread, and with a GPU PyTorch has threads of its own: there, `hindrance` says so.
- A worker trains on one thread of PyTorch, so that it never waits for the threads of a pool that were not copied. It
  prints to the descriptors, not to the console that a thread of the parent may have been drawing on.

Tensors travel in shared memory (`engines.shared`): what a round sends to all clients once, and what a client keeps or
replies in two places per worker, used in turn, since a worker has at most two messages.

Workers leave signals to their parent, which ends them when it is done or interrupted. They end with it however it
ends: the system kills them then (Linux), and they find the connection closed.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, NoReturn

import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from fedunlearn.engines.grid import Answer, context, error_reply, introduce
from fedunlearn.engines.shared import Channel, Sheet, Shelf, Words, records
from fedunlearn.engines.workers import Overdue

PLACES = ("one", "other")  # a worker's messages: the one that it answers, and the one that it goes on with
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def hindrance(device: torch.device) -> str:
    """Why worker processes cannot be used here; nothing if they can."""
    if sys.platform != "linux":
        return "a process is copied safely on Linux alone"
    if device.type != "cpu" or torch.accelerator.is_available():
        return "PyTorch cannot be copied with its threads for a GPU"
    if threading.current_thread() is not threading.main_thread():
        return "a process is copied safely by its main thread alone"
    return ""


@dataclass
class Task:
    """A message, what its client keeps, and in time the reply."""

    message: Message
    context: Context
    crew: Processes
    reply: Message | None = None

    def done(self) -> bool:
        """As in Work."""
        self.crew.look(0.0)
        return self.reply is not None

    def result(self, limit: float | None = None) -> list[Message]:
        """As in Work."""
        return [self.crew.await_reply(self, limit)]


@dataclass
class Worker:
    """A process, and what it was given: the first of it is what it is at work on, since `since`."""

    pid: int
    channel: Channel
    tasks: deque[Task] = field(default_factory=deque)
    since: float = 0.0
    kept: dict[str, Shelf] = field(default_factory=dict)  # what the clients of its messages keep, by place
    places: Iterator[str] = field(default_factory=lambda: itertools.cycle(PLACES))
    content: int = 0  # number of the content that it got last


class Processes:
    """`count` processes that answer messages to one of `clients` clients each. `answer` runs in them, not here."""

    def __init__(self, answer: Answer, count: int, clients: int) -> None:
        self.count, self._answer, self._clients = count, answer, clients
        self._waiting: deque[Task] = deque()  # for a worker to have less than two
        self._workers: list[Worker] = []
        self._selector = selectors.PollSelector()
        self._shelf = Shelf()
        self._content, self._sheet, self._number = RecordDict(), Sheet(), 0
        for _ in range(count):
            self._hire()

    # The crew ----------------------------------------------------------------------------------------------------

    def submit(self, group: list[Message], contexts: list[Context]) -> Task:
        """As in Crew, for single messages."""
        (message,), (known,) = group, contexts
        task = Task(message, known, self)
        self._waiting.append(task)
        self._hand_out()
        return task

    def give_up(self, work: Task) -> None:
        """As in Crew: the process is killed. What else it was given goes to the others."""
        for worker in self._workers:
            if worker.tasks and worker.tasks[0] is work:
                self._dismiss(worker)
                self._waiting.extendleft(reversed([*worker.tasks][1:]))
                self._hand_out()
                return

    def close(self, early: bool) -> None:
        """As in Crew. What workers have to say has been heard, or nobody wants to."""
        for worker in list(self._workers):
            self._dismiss(worker)
        self._selector.close()
        self._shelf.close()

    # Messages ----------------------------------------------------------------------------------------------------

    def await_reply(self, task: Task, limit: float | None) -> Message:
        """Serve all workers until `task` is done. Raises Overdue once a worker has been at it for `limit` seconds."""
        while task.reply is None:
            left = None
            worker = next((worker for worker in self._workers if worker.tasks and worker.tasks[0] is task), None)
            if limit is not None and worker is not None:
                left = worker.since + limit - time.monotonic()
                if left <= 0:
                    raise Overdue
            self.look(left)
        return task.reply

    def look(self, patience: float | None) -> None:
        """Take what workers have to say, after waiting for it for `patience` seconds (None: as long as it takes)."""
        for key, _ in self._selector.select(patience):
            worker: Worker = key.data
            try:
                words = worker.channel.receive()
            except (EOFError, ConnectionError):
                self._lost(worker)
            else:
                self._heard(worker, words)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give what waits to those who have less than two, first to those who will be free first, as far as we know."""
        while self._waiting:
            if len(self._workers) < self.count:
                self._hire()
            worker = min(self._workers, key=lambda worker: (len(worker.tasks), worker.since))
            if len(worker.tasks) >= len(PLACES):
                return
            self._give(worker, self._waiting.popleft())

    def _give(self, worker: Worker, task: Task) -> None:
        number, place = self._shared(task.message.content), next(worker.places)
        words: Words = {
            "content": None if worker.content == number else self._sheet,
            "node": task.message.metadata.dst_node_id,
            "type": task.message.metadata.message_type,
            "group": task.message.metadata.group_id,
            "id": task.message.metadata.message_id,
        }
        if not worker.tasks:
            worker.since = time.monotonic()
        worker.tasks.append(task)
        worker.content = number
        shown = {"content": self._shelf.pages}
        if task.context.state:
            if place not in worker.kept:
                worker.kept[place] = Shelf()
            (words["state"],) = worker.kept[place].put(task.context.state)
            shown[place] = worker.kept[place].pages
        try:
            worker.channel.send(words, **shown)
        except ConnectionError:  # it was lost before it got this
            self._waiting.appendleft(worker.tasks.pop())
            self._lost(worker)

    def _shared(self, content: RecordDict) -> int:
        """The number of what a message holds; the same for all clients of a round, so it is written but once."""
        if content is not self._content:
            busy = any(worker.tasks for worker in self._workers)  # perhaps with what was sent before
            (self._sheet,) = self._shelf.put(content, apart=busy)
            self._content, self._number = content, self._number + 1
        return self._number

    def _heard(self, worker: Worker, words: Words) -> None:
        task, worker.since = worker.tasks.popleft(), time.monotonic()
        if words["error"] is not None:
            task.reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, words["error"]), reply_to=task.message)
            return
        pages = worker.channel.seen[words["place"]]
        task.reply = Message(records(words["content"], pages, copied=True), reply_to=task.message)
        task.context.state = records(words["state"], pages, copied=True)

    # Processes ---------------------------------------------------------------------------------------------------

    def _lost(self, worker: Worker) -> None:
        """The client that it was at work on counts as failed."""
        how = self._dismiss(worker)
        if worker.tasks:
            task = worker.tasks.popleft()
            task.reply = error_reply(task.message, ChildProcessError(f"its process has ended ({how})"))
        self._waiting.extendleft(reversed(worker.tasks))

    def _hire(self) -> None:
        ours, theirs = socket.socketpair()
        with _undisturbed() as mask, theirs:
            here, pid = os.getpid(), os.fork()
            if pid == 0:
                self._begin(theirs, ours, mask, here)
            worker = Worker(pid, Channel(ours))
            self._workers.append(worker)
            self._selector.register(ours, selectors.EVENT_READ, worker)

    def _dismiss(self, worker: Worker) -> str:
        """End a process, if it has not ended; how it did."""
        self._workers.remove(worker)
        self._selector.unregister(worker.channel.end)
        worker.channel.close()
        for shelf in worker.kept.values():
            shelf.close()
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        except ChildProcessError:  # this process lets the system look after its children
            return "nobody knows how"
        return f"exit status {status}" if status >= 0 else f"signal {-status}"

    def _begin(self, end: socket.socket, ours: socket.socket, mask: set[int], parent: int) -> NoReturn:
        """What a new process does for all of its life."""
        try:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            _die_with(parent)
            sys.stdout, sys.stderr = _printer(1), _printer(2)
            ours.close()  # else the connections would stay open without the parent: this one, and the others'
            for worker in self._workers:
                worker.channel.close()
            torch.set_num_threads(1)
            introduce()
            serve(Channel(end), self._answer, self._clients)
        except (EOFError, ConnectionError):
            pass
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        finally:
            os._exit(0)  # without what the parent would do at its end


def serve(channel: Channel, answer: Answer, clients: int) -> None:
    """Answer messages until the other end is gone, which raises EOFError or ConnectionError."""
    content, shelves = RecordDict(), {place: Shelf() for place in PLACES}
    for place in itertools.cycle(PLACES):
        words = channel.receive()
        if words["content"] is not None:
            content = records(words["content"], channel.seen["content"], copied=False)
        state = records(words["state"], channel.seen[place], copied=False) if "state" in words else RecordDict()
        known = context(words["node"], clients, state)
        message = Message(content, words["node"], words["type"], group_id=words["group"])
        message.metadata.__dict__["_message_id"] = words["id"]
        (reply,) = answer([message], [known])
        said: Words = {"error": reply.error.reason if reply.has_error() else None, "place": place}
        if reply.has_content():
            try:
                said["content"], said["state"] = shelves[place].put(reply.content, known.state)
            except (ValueError, TypeError) as error:
                said["error"] = error_reply(message, error).error.reason
        channel.send(said, **{place: shelves[place].pages})


@contextmanager
def _undisturbed() -> Iterator[set[int]]:
    """No signal is handled meanwhile. What exists is left out of garbage collection, which would copy its pages."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    gc.freeze()
    try:
        yield mask
    finally:
        gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _die_with(parent: int) -> None:
    """Have the system kill this process when `parent` ends, which it may have done already."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)


def _printer(descriptor: int) -> IO[str]:
    """Prints there, whatever the parent has put in the place of its own."""
    try:
        return os.fdopen(os.dup(descriptor), "w", buffering=1)
    except OSError:  # closed
        return open(os.devnull, "w")  # noqa: PTH123 (for all of a process's life)
