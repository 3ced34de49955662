"""The benchmark, in one command:

    python experiments/benchmarks/run.py [--quick] [--data DIR] [--repeats 3] [--only cnn_100 …] [--out DIR]

Every competitor does the same work on every workload: as many rounds of the same clients with as many images, the same
local SGD, and an evaluation of the global model on the same test images after every round. Each measurement is a
process of its own; the competitors take turns, so that a machine that is slower for a while is slower for all. What is
measured already is not measured again (delete measurements.json to start over). Written into results/benchmarks:
measurements.json (everything), table.md, growth.png/.svg, benchmark.png/.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import report
import torch
import workloads
from memory import Peak
from workloads import Workload

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EVERYBODY = ("local", "flower", "plain", "tuned")
COMPETITORS = {
    **{workload.name: EVERYBODY for workload in workloads.MAIN + workloads.CLIENTS},
    **{workload.name: EVERYBODY[:3] for workload in workloads.SIZES},
    "cnn_100": ("local", "flower", "plain", "tuned", "stacked", "fucrt"),
    "gpu_cnn_50": ("local", "stacked"),
    "gpu_resnet18": ("local", "central"),
}


def main() -> None:
    asked = arguments()
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    path = out / "measurements.json"
    kept = json.loads(path.read_text()) if path.exists() else {"runs": []}
    kept["machine"] = report.machine()
    options = f"{' --quick' if asked.quick else ''}{' --data DIR' if asked.data else ''}"
    kept["command"] = f"python experiments/benchmarks/run.py{options}"
    for repeat in range(asked.repeats):
        for name in asked.only or workloads.ALL:
            for competitor in COMPETITORS[name]:
                if known(kept["runs"], name, competitor, repeat) or not possible(name):
                    continue
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
    parser.add_argument("--data", type=Path, help="folder that holds CIFAR-10 (else: synthetic pixels)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(workloads.ALL), help="some of the workloads")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks")
    return parser.parse_args()


def measure(competitor: str, workload: Workload, data: Path | None, device: str) -> dict[str, Any]:
    """Launch one measurement and wait for it."""
    setting = {
        "competitor": competitor,
        "workload": workload.as_dict(),
        "data": str(data) if data else None,
        "device": device,
    }
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    words = [sys.executable, str(HERE / "measure.py"), json.dumps({**setting, "launched": time.time()})]
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
    return not workload.startswith("gpu") or torch.cuda.is_available()


def device_of(workload: str) -> str:
    return "cuda" if workload.startswith("gpu") else "cpu"


def line(run: dict[str, Any]) -> str:
    rounds = sorted(run["rounds"])
    middle = rounds[len(rounds) // 2]
    return (
        f"{run['workload']:14} {run['competitor']:8} {middle:8.3f} s/round  first after {run['first_round']:5.1f} s  "
        f"{run['peak'] / 2**20:6.0f} MiB  accuracy {run['accuracy']:.3f}"
    )


if __name__ == "__main__":
    main()
