"""One measurement: one competitor on one workload, in a process of its own. Prints a line of JSON; called by run.py."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import joblib
import workloads
from workloads import Workload


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


def compete(name: str, workload: Workload, dataset, mark, data: str | None, device: str) -> None:
    """Run one of the competitors; each is imported only if it is the one."""
    import logging

    cores = joblib.cpu_count()
    if name in ("local", "stacked", "fucrt"):
        import ours

        logging.getLogger("flwr").setLevel(logging.ERROR)
        ours.run(
            workload,
            dataset,
            mark,
            "local" if name == "fucrt" else name,
            "fucrt" if name == "fucrt" else "fedavg",
            device,
        )
    elif name == "flower":
        import flower

        logging.getLogger("flwr").setLevel(logging.ERROR)
        flower.run(workload, dataset, mark, cores, data)
    elif name in ("plain", "tuned"):
        import bare

        bare.run(workload, dataset, mark, cores, bare.PLAIN if name == "plain" else bare.TUNED)
    else:
        import bare

        bare.central(workload, dataset, mark, device)


if __name__ == "__main__":
    main()
