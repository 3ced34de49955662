"""Audit the audits: how well does each finding tell models that still know something from retrained ones?

    python -m experiments.audit_power --data DIR   # DIR holds FashionMNIST/raw; no GPU needed
    python -m experiments.audit_power --quick      # two cells of a few digits: does it work?

Every cell (dataset, class, seed) has an original, a bank of retrained models and planted ones, of which we know what is
left in them. The same command goes on where it was stopped: models and findings are in the store. Written into
results/audit_power: table.md, runs.csv (a row for each model), power.csv, verdicts.csv, environment.json and the
figure power.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from experiments import sweeps
from experiments.audit_power import figure, page, planted
from experiments.sweeps import FASHION_SETTING, Location
from fedunlearn.files import write_text
from fedunlearn.report import style

CHOOSING, JUDGING = "choosing", "judging"  # thresholds and findings are chosen on the ones, judged on the others
# Those in which nothing says of one model whether more is left, and those that are off anyway.
NO_AUDITS = ("feature_map", "answers", "class_flow", "similarity", "over_unlearning", "transformation_damage", "cmia")
NO_AUDITS += ("client_utility", "request_leak", "svc_mia", "backdoor", "u_lira", "attention", "idi", "dormancy")
AUDITS = tuple(f"audit.{name}=null" for name in (*NO_AUDITS, "klom", "epsilon"))
AUDITS += ("audit.membership.repeats=1", "audit.relearning.shots=[5,50]")
SMALL = ("partition.clients=5", "train.rounds=15", "unlearn.rounds=3", "train.evaluate_every=0", "train.lr=0.06")
DIGITS = ("dataset=digits", *SMALL, "train.batch_size=40", "train.local_epochs=2")
LETTERS = ("+experiment=demo", *SMALL, "dataset.train=200")
FASHION = (*FASHION_SETTING, "train.evaluate_every=0")
WIDE, BANK = "retrain.seeds=24", "retrain.seeds=12"
TINY = ("dataset=digits", "data.limit=200", "partition.clients=2", "train.rounds=3", "unlearn.rounds=1")
TINY += ("train.local_epochs=2", "retrain.seeds=4", "audit=quick")


@dataclass(frozen=True)
class Cell:
    """A dataset, a class to be forgotten and a seed. `part`: what it is for; `words`: the rest of its setting."""

    part: str
    dataset: str
    forget: str
    seed: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.dataset} {self.forget} seed {self.seed}"

    @property
    def all_words(self) -> tuple[str, ...]:
        """The whole setting, as on the command line."""
        return (*self.words, f"request.classes=[{self.forget}]", f"seed={self.seed}")


def full() -> list[Cell]:
    """The cheapest first. No class of the judging cells is one of the choosing cells of that dataset."""
    return [
        *_cells(CHOOSING, "digits", "4", (3, 4), (*DIGITS, *AUDITS, WIDE)),
        *_cells(CHOOSING, "letters", "RB", (3,), (*LETTERS, *AUDITS, WIDE)),
        *_cells(JUDGING, "digits", "17", (10,), (*DIGITS, *AUDITS, WIDE)),
        *_cells(JUDGING, "letters", "EG", (10,), (*LETTERS, *AUDITS, WIDE)),
        *_cells(JUDGING, "digits", "17", (11, 12, 13), (*DIGITS, *AUDITS, BANK)),
        *_cells(JUDGING, "letters", "EG", (11, 12, 13), (*LETTERS, *AUDITS, BANK)),
        *_cells(JUDGING, "digits", "36", (10, 11), (*DIGITS, *AUDITS, BANK)),
        *_cells(JUDGING, "letters", "CP", (10, 11), (*LETTERS, *AUDITS, BANK)),
        *_cells(CHOOSING, "fashion", "4", (3,), (*FASHION, *AUDITS, BANK)),
        *_cells(JUDGING, "fashion", "2", (10,), (*FASHION, *AUDITS, BANK)),
    ]


def quick() -> list[Cell]:
    """One of each part."""
    return [*_cells(CHOOSING, "digits", "4", (3,), TINY), *_cells(JUDGING, "digits", "7", (10,), TINY)]


def _cells(part: str, dataset: str, classes: Iterable[str], seeds: Iterable[int], words: tuple[str, ...]) -> list[Cell]:
    return [Cell(part, dataset, forget, seed, words) for forget, seed in product(classes, seeds)]


def main() -> None:
    asked = sweeps.plain_parser("audit_power", __doc__)
    asked.add_argument("--jobs", type=int, default=1, help="cells at a time, each on one core if there are several")
    asked.add_argument("--page", action="store_true", help="run nothing: the page once more, from its runs.csv")
    given = asked.parse_args()
    folder = sweeps.ROOT / "results" / "audit_power"
    if given.page:
        rows = pd.read_csv(folder / "runs.csv", dtype={"forget": str})
        found = page.results(rows)
        write(folder, found, page.build(rows, found))
        return
    sweeps.settle()
    plan = quick() if given.quick else full()
    with sweeps.place_of(given) as place:
        sweeps.check_data(["digits"] if given.quick else ["digits", "fashion_mnist"], place)
        rows = run(plan, place)
    found = page.results(rows)
    text = page.build(rows, found)
    print(f"\n{text}")
    if not given.quick:
        sweeps.write_table(folder, "runs.csv", rows, text)
        write(folder, found, text)


def run(plan: list[Cell], place: Location) -> pd.DataFrame:
    """The models of every cell and their findings (`planted.measured`), cell by cell."""
    calls = (delayed(measured)(cell, place) for cell in plan)
    return pd.concat(Parallel(n_jobs=place.jobs)(calls), ignore_index=True)


def measured(cell: Cell, place: Location) -> pd.DataFrame:
    """The same of one cell."""
    if place.jobs > 1:
        sweeps.settle()  # this is a process of its own
    since = time.perf_counter()
    found = planted.measured(cell.all_words, place)
    print(f"{cell.name} ({cell.part}): {time.perf_counter() - since:.0f} s", flush=True)
    named = {"cell": cell.name, "part": cell.part, "dataset": cell.dataset, "forget": cell.forget, "seed": cell.seed}
    rows = pd.concat([pd.DataFrame(named, index=found.index), found], axis=1)
    sweeps.write_csv(place.work / f"{cell.name}.csv", rows)  # for those who cannot wait for the others
    return rows


def write(folder: Path, found: page.Results, text: str) -> None:
    """The page, the rates behind it, and the figure."""
    write_text(folder / "table.md", text)
    sweeps.write_csv(folder / "power.csv", found.power)
    sweeps.write_csv(folder / "verdicts.csv", found.verdicts)
    with style.styled():
        style.replace(figure.power(found), folder, "power")
    print(f"Results: {folder}")


if __name__ == "__main__":
    main()
