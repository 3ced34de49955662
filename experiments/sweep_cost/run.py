"""What sharing stages is worth: a sweep of 6 methods x 3 seeds with the store, its distinct stages alone, and without.

    python experiments/sweep_cost/run.py            # about half an hour on two cores; writes results/sweep_cost/
    python experiments/sweep_cost/run.py --quick    # a smaller sweep, to see that it works; writes nothing

Nothing else should run on the machine meanwhile. The three measurements:

shared      the command `fedunlearn -m ...` with an empty store, from its start to its end, figures and report included
stages      every distinct stage of that sweep once, in one process, without Hydra, figures, reports and start-up
separate    the same command with `store.enabled=false`: every run computes all its stages
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.results.provenance import environment
from fedunlearn.runs import pipeline, resources
from fedunlearn.runs.console import Console
from fedunlearn.runs.resources import Slot

METHODS = ("fucrt", "relabel", "random_relabel", "finetune", "head_mask", "retrain")
SEEDS = (0, 1, 2)
SETTING = ["train.local_epochs=3"]  # as in the reference runs on digits
QUICK = ["+experiment=quick", "data.limit=400", "gates=warn", "train.rounds=4", "unlearn.rounds=2"]
AT_MOST, AT_LEAST = 1.15, 3.0  # shared over stages, separate over shared
RESULTS = Path(__file__).resolve().parents[2] / "results" / "sweep_cost"


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description="What sharing stages is worth.")
    parser.add_argument("--quick", action="store_true", help="a smaller sweep; writes nothing")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), QUICK if quick else SETTING)
    print(table(found))
    if not quick:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "sweep_cost.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "table.md").write_text(table(found))
        (RESULTS / "environment.json").write_text(json.dumps(environment(0), indent=1) + "\n")


def measure(folder: Path, extra: list[str]) -> dict[str, float | str | int]:
    """Seconds of the three, their ratios, and how many stages there were."""
    sweep = [f"method={','.join(METHODS)}", f"seed={','.join(map(str, SEEDS))}", *extra]
    shared = command(folder, "shared", sweep)
    stages = once(folder / "stages", extra)
    separate = command(folder, "separate", [*sweep, "store.enabled=false"])
    return {
        "command": f"fedunlearn -m {' '.join(sweep)}",
        "runs": len(METHODS) * len(SEEDS),
        "stages": len(list((folder / "stages").glob("*/*/manifest.json"))),
        "shared_seconds": round(shared, 1),
        "stages_seconds": round(stages, 1),
        "separate_seconds": round(separate, 1),
        "shared_over_stages": round(shared / stages, 3),
        "separate_over_shared": round(separate / shared, 2),
    }


def command(folder: Path, name: str, words: list[str]) -> float:
    """Seconds of the whole command, from a fresh interpreter to its end."""
    places = [f"output.dir={folder / name}", f"store.dir={folder / name}-store"]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fedunlearn", "-m", *words, *places], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def once(store: Path, extra: list[str]) -> float:
    """Seconds of all distinct stages, each computed once."""
    words = [[f"method={method}", f"seed={seed}", f"store.dir={store}", *extra] for method in METHODS for seed in SEEDS]
    logging.getLogger("flwr").setLevel(logging.ERROR)  # as the command does: what it says takes time
    configs = [resources.settled(command_line.read(one, conf_dir()), Slot()) for one in words]
    begun = time.perf_counter()
    for config in configs:
        pipeline.run(config, Console())
    return time.perf_counter() - begun


def table(found: dict[str, float | str | int]) -> str:
    """The result for people, with what it had to be."""
    verdicts = {
        f"{found['shared_over_stages']} times its distinct stages (at most {AT_MOST})": (
            float(found["shared_over_stages"]) <= AT_MOST
        ),
        f"{found['separate_over_shared']} times less than without the store (at least {AT_LEAST:g})": (
            float(found["separate_over_shared"]) >= AT_LEAST
        ),
    }
    lines = [
        f"`{found['command']}`: {found['runs']} runs, {found['stages']} distinct stages.",
        "",
        "| | seconds |",
        "|---|---:|",
        f"| the sweep, sharing stages | {found['shared_seconds']} |",
        f"| its distinct stages alone, once | {found['stages_seconds']} |",
        f"| the sweep without the store | {found['separate_seconds']} |",
        "",
        *(f"- The sweep costs {said}: {'yes' if held else 'NO'}." for said, held in verdicts.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
