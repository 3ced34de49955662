"""One measurement: one competitor on one workload, in a process of its own. Prints a line of JSON; called by run.py."""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import joblib

from experiments.benchmarks import workloads
from experiments.benchmarks.workloads import Workload
from fedunlearn.data.types import Dataset

Mark = Callable[[float], None]


def main() -> None:
    """Reads `{"competitor", "workload", "data", "device", "launched"}` from its only argument."""
    given = json.loads(sys.argv[1])
    workload = Workload(**{**given["workload"], "shape": tuple(given["workload"]["shape"])})
    data = given["data"]
    dataset, source = workloads.images(workload, Path(data) if data else None)
    marks: list[tuple[float, float]] = []

    def mark(accuracy: float) -> None:
        marks.append((time.time(), accuracy))

    compete(given["competitor"], workload, dataset, mark, data, given["device"])
    times = [moment for moment, _ in marks]
    assert len(marks) == workload.rounds + 1, f"{len(marks)} marks for {workload.rounds} rounds"
    result = {
        "rounds": [later - earlier for earlier, later in itertools.pairwise(times)],
        "first_round": times[1] - given["launched"],
        "accuracy": marks[-1][1],
        "source": source,
    }
    print("RESULT " + json.dumps(result), flush=True)


def compete(name: str, workload: Workload, dataset: Dataset, mark: Mark, data: str | None, device: str) -> None:
    """Run one of the competitors; each is imported only if it is the one."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    cores = joblib.cpu_count()
    if name == "flower":
        from experiments.benchmarks import flower

        flower.run(workload, dataset, mark, cores, data)
    elif name in ("tuned", "tuned_1"):
        from experiments.benchmarks import tuned

        tuned.run(workload, dataset, mark, 1 if name == "tuned_1" else cores)
    elif name in ("plain", "central"):
        from experiments.benchmarks import bare

        if name == "plain":
            bare.run(workload, dataset, mark, cores)
        else:
            bare.central(workload, dataset, mark, device)
    else:
        from experiments.benchmarks import ours

        ours.run(workload, dataset, mark, ours.WAYS[name], device)


if __name__ == "__main__":
    main()
