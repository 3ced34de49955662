"""Tune a method: the trials that it declares, on classes and seeds that no reported table uses, chosen by the verdict.

    python -m experiments.tune METHOD --data DIR   # DIR holds FashionMNIST/raw; no GPU needed
    python -m experiments.tune METHOD --quick      # two trials on a few digits: does it work?

Every method gets the same number of trials, the first of them its defaults; all are held against the same original and
retrained models. The same command goes on where it was stopped. Written into results/tune/METHOD: table.md, runs.csv,
environment.json.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product

import pandas as pd

from experiments import sweeps
from experiments.sweeps import AUDITS, FASHION_SETTING, RETRAINED, Location, Sweep
from experiments.tune import page
from fedunlearn.cli import main as command
from fedunlearn.errors import RequestError, listed
from fedunlearn.federation.method import Method
from fedunlearn.report import runs as reading
from fedunlearn.report import tables
from fedunlearn.runs.resources import Slot
from fedunlearn.settings import registry

TRIALS = 6  # of every method that has something to choose

Words = tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """`cells`: the words of each setting that trials are compared in. `trials`: of them, at most."""

    cells: tuple[Words, ...]
    trials: int = TRIALS

    @property
    def datasets(self) -> list[str]:
        """Their names."""
        words = (word for cell in self.cells for word in cell)
        return sorted({word.removeprefix("dataset=") for word in words if word.startswith("dataset=")})


DIGITS = ("dataset=digits", "train.local_epochs=3", RETRAINED, AUDITS)
FULL = Plan(
    (
        *((f"request.classes=[{number}]", "seed=3", *FASHION_SETTING) for number in (4, 7)),
        *(("request.classes=[4]", f"seed={seed}", *DIGITS) for seed in (3, 4)),
    )
)
QUICK = Plan(
    (
        (
            *("request.classes=[4]", "seed=3", "dataset=digits", "data.limit=200", "partition.clients=2"),
            *("train.rounds=3", "unlearn.rounds=2", "retrain.seeds=2", "audit=quick", "gates=warn"),
        ),
    ),
    trials=2,
)


def main() -> None:
    made = sweeps.plain_parser("tune", __doc__)
    made.add_argument("method", help="its name, as in method=NAME")
    asked = made.parse_args()
    sweeps.settle()
    plan = QUICK if asked.quick else FULL
    try:
        trials_of(asked.method)
    except RequestError as error:
        sys.exit(command.refuse(error))
    with sweeps.place_of(asked) as place:
        sweeps.check_data(plan.datasets, place)
        frame = run(asked.method, plan, place)
    command_line = f"python -m experiments.tune {asked.method} --data DIR"
    every = [Sweep("", (*cell, f"method={asked.method}", *choices(asked.method))) for cell in plan.cells]
    said = page.build(asked.method, frame) + "\n\n" + sweeps.commands(command_line, every)
    sweeps.finish(f"tune/{asked.method}", frame[frame["status"] != "failed"], said, asked)  # which the page names


def trials_of(name: str) -> list[Words]:
    """The words of each trial, those of the defaults first. Raises RequestError where there is nothing to choose."""
    grid = registry.find(Method, name).grid
    if not grid:
        known = [each for each in registry.names("method") if registry.find(Method, each).grid]
        raise RequestError(f"method {name} declares no grid to tune it by: choose {listed(known)}")
    return list(product(*([f"{key}={written(value)}" for value in values] for key, values in grid.items())))


def choices(name: str) -> Words:
    """The same trials as words of a sweep."""
    return tuple(f"{key}={','.join(map(written, values))}" for key, values in registry.find(Method, name).grid.items())


def written(value: object) -> str:
    """A value as on the command line."""
    return "null" if value is None else str(value)


def run(method: str, plan: Plan, place: Location) -> pd.DataFrame:
    """Every trial in every cell, one after another in this process; what is finished is not run again. A row each."""
    planned = list(product(plan.cells, trials_of(method)[: plan.trials]))
    folders = []
    for number, (cell, trial) in enumerate(planned):
        print(f"{method} {number + 1} of {len(planned)}: {' '.join((*cell[:3], *trial))}", flush=True)
        folders.append(place.work / method / str(number))
        words = (*cell, f"method={method}", *trial)
        sweeps.job_here(words, folders[-1], place, Slot(number, len(planned), draws=False))
    frame = tables.frame_of([reading.read(folder) for folder in folders])
    named = pd.DataFrame({"sweep": method, "asked": [" ".join(trial) for _, trial in planned]})
    return pd.concat([named, frame], axis=1, verify_integrity=True)


if __name__ == "__main__":
    main()
