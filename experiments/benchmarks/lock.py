"""What share of a client's round holds the interpreter's lock, and how much faster several workers can be at most:

    python experiments/benchmarks/lock.py [--quick] [--only cnn_100 …] [--repeats 5]

The clients of a workload train one after another on one thread, as a worker of engine=local has them. Beside them a
second thread takes the lock, counts, and lets go of it at once, over and over. It gets on only while the client works
without the lock, inside PyTorch's kernels: its pace beside clients, over its pace alone, is the share of the time in
which the lock is free. It holds the lock for about a microsecond at a time, so that clients hardly wait for it.

Where a share s of the work needs the lock, threads are at most 1/s times as fast as one, on any number of cores
(Amdahl 1967). Processes have a lock each: what limits them is the server, which takes the replies one by one. What it
does for one, over what a client does for one, is their s. Needs two idle cores; medians over the repeats.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from flwr.app import Context, Message

from experiments.benchmarks import ours, workloads
from experiments.benchmarks.workloads import Workload
from fedunlearn.data.types import Dataset
from fedunlearn.engines import local
from fedunlearn.engines.grid import Answer, answers
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app
from fedunlearn.federation.federation import Federation

ALONE = 0.3  # seconds in which the second thread is alone


class Counter:
    """A thread that counts how often it gets the lock, inside `with`."""

    def __init__(self) -> None:
        self.count, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Counter:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            self.count += 1
            time.sleep(0)  # lets go of the lock


@dataclass(frozen=True)
class Answered:
    """Work that was done when it was asked for."""

    replies: list[Message]

    def done(self) -> bool:
        return True

    def result(self, limit: float | None = None) -> list[Message]:
        return self.replies


class Watched:
    """A crew of one that answers in the calling thread, and keeps how long it took and how far the counter got."""

    count = 1

    def __init__(self, answer: Answer, counter: Counter) -> None:
        self._answer, self._counter = answer, counter
        self.took: list[float] = []
        self.counted = 0
        self.between: list[float] = []  # seconds from a reply to the next message
        self._replied = 0.0

    def submit(self, group: list[Message], contexts: list[Context]) -> Answered:
        counted, began = self._counter.count, time.perf_counter()
        if self._replied:
            self.between.append(began - self._replied)
        replies = self._answer(group, contexts)
        self._replied = time.perf_counter()
        self.took.append(self._replied - began)
        self.counted += self._counter.count - counted
        return Answered(replies)

    def give_up(self, work: Any) -> None:
        """Nothing is at work."""

    def close(self, early: bool) -> None:
        """There is nothing to let go."""


@dataclass(frozen=True)
class Share:
    """`client`, `server`: seconds for a client's round and for what the server does about it; `lock`: share of the
    former that holds the lock."""

    client: float
    server: float
    lock: float


def measured(workload: Workload) -> Share:
    dataset, _ = workloads.images(workload, None)
    counter = Counter()
    by_itself = watched(workload, dataset, counter)
    with counter:
        began, counted = time.perf_counter(), counter.count
        time.sleep(ALONE)
        alone = (counter.count - counted) / (time.perf_counter() - began)
        beside = watched(workload, dataset, counter)
    free = min(1.0, beside.counted / sum(beside.took) / alone)
    return Share(statistics.fmean(by_itself.took), statistics.median(by_itself.between), 1 - free)


def watched(workload: Workload, dataset: Dataset, counter: Counter) -> Watched:
    """All rounds of the workload, and what was seen of them."""
    crews = list[Watched]()

    def crew(federation: Federation, settings: object, say: object) -> Watched:
        crews.append(Watched(answers(client_app(lambda: federation, wire.by_reference)), counter))
        return crews[-1]

    with patch.object(local, "crew", crew):
        ours.run(workload, dataset, lambda accuracy: None, ours.Way(), "cpu")
    return crews[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny workloads, to try out the command")
    parser.add_argument("--only", nargs="*", choices=list(workloads.ALL), help="some of the workloads")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    names = asked.only or [workload.name for workload in (*workloads.MAIN, *workloads.CLIENTS)]
    print(f"{'workload':14} client's round   server   lock   threads at most   processes at most")
    for name in names:
        workload = workloads.quick(workloads.ALL[name]) if asked.quick else replace(workloads.ALL[name], rounds=1)
        shares = [measured(workload) for _ in range(asked.repeats)]
        client, server, lock = (
            statistics.median(getattr(share, part) for share in shares) for part in ("client", "server", "lock")
        )
        ceilings = (1 / max(lock, 1e-3), client / server)
        print(
            f"{name:14} {1e3 * client:11.2f} ms {1e3 * server:5.2f} ms {lock:6.2f}"
            f" {ceilings[0]:17.1f} {ceilings[1]:19.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
