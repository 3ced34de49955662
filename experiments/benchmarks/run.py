"""The benchmark, in one command:

    python experiments/benchmarks/run.py [--quick] [--promised] [--only cnn_100 …] [--who local …] [--data DIR]
                                         [--repeats 5] [--out DIR]

Every competitor does the same work on every workload: as many rounds of the same clients with as many images, the same
local SGD, and an evaluation of the global model on the same test images after every round. Each measurement is a
process of its own; the competitors take turns, first in one order and then in the other, so that a machine that is
slower for a while is slower for all. `--promised` measures only what the table of promises is about. What is measured
already is not measured again (delete measurements.json to start over). Written into results/benchmarks:
measurements.json (everything), table.md, growth.png/.svg, benchmark.png/.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from experiments.benchmarks import report, workloads
from experiments.benchmarks.memory import Peak
from experiments.benchmarks.workloads import Workload

ROOT = Path(__file__).resolve().parents[2]
CORES, BACKENDS = ("local_1", "tuned_1"), ("threads", "processes")
EVERYBODY = ("local", "tuned", "plain", "flower")
COMPETITORS = {
    **{workload.name: EVERYBODY for workload in workloads.MAIN + workloads.CLIENTS},
    **{workload.name: ("local", "tuned", "flower") for workload in workloads.SIZES},
    **{workload.name: ("local", "tuned") for workload in workloads.MANY},
    "cnn_100": ("local", "tuned", "plain", "fucrt", "fucrt_trained", "stacked", *CORES, *BACKENDS, "flower"),
    "cnn_1000": ("local", "tuned", "plain", *BACKENDS, "flower"),
    "clients_1000": ("local", "tuned", "plain", *CORES, *BACKENDS, "flower"),
    "gpu_cnn_50": ("local", "stacked"),
    "gpu_cnn_1000": ("local", "stacked"),
    "gpu_resnet18": ("local", "central"),
}
FEWER = {("clients_1000", "flower"): 3}  # repeats at most: of the promise's 15 it is so far above that three say it


def main() -> None:
    asked = arguments()
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    path = out / "measurements.json"
    kept = json.loads(path.read_text()) if path.exists() else {"runs": []}
    kept["machine"] = report.machine()
    options = f"{' --quick' if asked.quick else ''}{' --data DIR' if asked.data else ''}"
    kept["command"] = f"python experiments/benchmarks/run.py{options}"
    for name, competitor, repeat in planned(asked):
        if not known(kept["runs"], name, competitor, repeat):
            workload = workloads.quick(workloads.ALL[name]) if asked.quick else workloads.ALL[name]
            result = measure(competitor, workload, asked.data, device_of(name))
            kept["runs"].append({"workload": name, "competitor": competitor, "repeat": repeat, **result})
            path.write_text(json.dumps(kept, indent=1) + "\n")
            print(line(kept["runs"][-1]), flush=True)
    report.write(kept, {n: workloads.quick(w) if asked.quick else w for n, w in workloads.ALL.items()}, out)
    print(f"results: {out}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny workloads, to try out the command")
    parser.add_argument("--promised", action="store_true", help="only what the table of promises is about")
    parser.add_argument("--data", type=Path, help="folder that holds CIFAR-10 (else: synthetic pixels)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=list(workloads.ALL), help="some of the workloads")
    parser.add_argument("--who", nargs="*", choices=list(report.NAMES), help="some of the competitors")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks")
    return parser.parse_args()


def planned(asked: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Workload, competitor and repeat of every measurement, in order."""
    promised = {key for promise in report.PROMISES for key in (promise.ours, promise.theirs) if key}
    for repeat in range(asked.repeats):
        for name in asked.only or workloads.ALL:
            who = [competitor for competitor in COMPETITORS[name] if not asked.who or competitor in asked.who]
            for competitor in who if repeat % 2 == 0 else reversed(who):
                wanted = not asked.promised or (name, competitor) in promised
                if wanted and possible(name) and repeat < FEWER.get((name, competitor), asked.repeats):
                    yield name, competitor, repeat


def measure(competitor: str, workload: Workload, data: Path | None, device: str) -> dict[str, Any]:
    """Launch one measurement and wait for it."""
    setting = {
        "competitor": competitor,
        "workload": workload.as_dict(),
        "data": str(data) if data else None,
        "device": device,
    }
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script = str(Path(__file__).with_name("measure.py"))
    words = [sys.executable, script, json.dumps({**setting, "launched": time.time()})]
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    peak = Peak(process)
    said, complaints = process.communicate()
    found = [text for text in said.splitlines() if text.startswith("RESULT ")]
    if not found:
        sys.exit(f"{competitor} on {workload.name} failed:\n{complaints[-3000:]}")
    return {**json.loads(found[-1].removeprefix("RESULT ")), "peak": peak.bytes}


def known(runs: list[dict[str, Any]], workload: str, competitor: str, repeat: int) -> bool:
    key = (workload, competitor, repeat)
    return any((run["workload"], run["competitor"], run["repeat"]) == key for run in runs)


def possible(workload: str) -> bool:
    """Is what it needs here?"""
    return not workload.startswith("gpu") or torch.cuda.is_available()


def device_of(workload: str) -> str:
    return "cuda" if workload.startswith("gpu") else "cpu"


def line(run: dict[str, Any]) -> str:
    return (
        f"{run['workload']:14} {run['competitor']:8} {report.seconds(run):8.3f} s/round  "
        f"first after {run['first_round']:5.1f} s  {run['peak'] / 2**20:6.0f} MiB  accuracy {run['accuracy']:.3f}"
    )


if __name__ == "__main__":
    main()
