"""Audit the audits: how well does each finding tell models that still know something from retrained ones?

    python -m experiments.audit_power --data DIR   # DIR holds FashionMNIST/raw; no GPU needed
    python -m experiments.audit_power --quick      # two cells of a few letters: does it work?

Every cell (dataset, class, seed) has an original, a bank of retrained models and planted ones, of which we know what is
left in them. The same command goes on where it was stopped: models and findings are in the store. Written into
results/audit_power: table.md, runs.csv (a row for each model), samples.csv (the same on fresh forget samples),
power.csv, verdicts.csv, environment.json and the figure power.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
DATASETS = {"digits": "digits", "letters": "glyphs", "fashion": "fashion_mnist"}
BANK = 10  # retrained models, for a verdict of eight; twice as many where n is large
WIDE, NARROW = f"retrain.seeds={2 * BANK}", f"retrain.seeds={BANK}"
RUNS, SAMPLES = "runs.csv", "samples.csv"
TINY = ("dataset=glyphs", "dataset.characters=BEFO", "dataset.size=12", "dataset.train=30", "dataset.test=20")
TINY += ("model.width=4", "partition.clients=2", "train.rounds=4", "unlearn.rounds=1", "retrain.seeds=4", "audit=quick")
LEAST = 6  # cells: of digits and letters, to choose on and to judge on
FRESH = (20, 100, 300, 1000)  # forget samples that letters are tested on
FRESH_AUDITS = ("audit.relearning.test_samples=1000",)


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
    digits, letters, fashion = ((*words, *AUDITS) for words in (DIGITS, LETTERS, FASHION))
    return [
        *_cells(CHOOSING, "digits", "4", (3,), (*digits, WIDE)),
        *_cells(CHOOSING, "letters", "R", (3,), (*letters, WIDE)),
        *_cells(CHOOSING, "digits", "4", (4,), (*digits, NARROW)),
        *_cells(CHOOSING, "letters", "B", (4,), (*letters, NARROW)),
        *_cells(JUDGING, "digits", "1", (10,), (*digits, WIDE)),
        *_cells(JUDGING, "letters", "E", (10,), (*letters, WIDE)),
        *_cells(JUDGING, "letters", "EG", (11, 12), (*letters, NARROW)),
        *_cells(JUDGING, "digits", "17", (11, 12), (*digits, NARROW)),
        *_cells(JUDGING, "letters", "CPO", (10, 11), (*letters, NARROW)),
        *_cells(JUDGING, "digits", "368", (10, 11), (*digits, NARROW)),
        *_cells(JUDGING, "letters", "G", (10,), (*letters, NARROW)),
        *_cells(JUDGING, "digits", "7", (10,), (*digits, NARROW)),
        *_cells(CHOOSING, "fashion", "4", (3,), (*fashion, NARROW)),
        *_cells(JUDGING, "fashion", "2", (10,), (*fashion, NARROW)),
    ]


def fresh(cells: Sequence[Cell]) -> list[Cell]:
    """Those of letters, which are drawn on demand, in which findings are held against the number of forget samples."""
    some = [cell for cell in cells if cell.dataset == "letters" and cell.forget in "RBEG" and cell.seed < 12]
    return [replace(cell, words=(*cell.words, *FRESH_AUDITS)) for cell in some]


def quick() -> list[Cell]:
    """One of each part."""
    return [*_cells(CHOOSING, "letters", "E", (3,), TINY), *_cells(JUDGING, "letters", "O", (10,), TINY)]


def _cells(part: str, dataset: str, classes: Iterable[str], seeds: Iterable[int], words: tuple[str, ...]) -> list[Cell]:
    return [Cell(part, dataset, forget, seed, words) for forget, seed in product(classes, seeds)]


def main() -> None:
    asked = sweeps.plain_parser("audit_power", __doc__)
    asked.add_argument("--jobs", type=int, default=1, help="cells at a time, each on one core if there are several")
    asked.add_argument("--page", action="store_true", help="run nothing: the page once more, from the results' rows")
    asked.add_argument(
        "--cells", type=int, metavar="N", help="the first N cells alone; those of Fashion-MNIST are last"
    )
    given = asked.parse_args()
    if given.cells is not None and given.cells < LEAST:
        asked.error(f"--cells {given.cells}: {LEAST} at least, so that there are cells of both parts")
    folder = sweeps.ROOT / "results" / "audit_power"
    if given.page:
        kept = [pd.read_csv(folder / name, dtype={"forget": str}) for name in (RUNS, SAMPLES)]
        write(folder, page.results(*kept))
        return
    sweeps.settle()
    with sweeps.place_of(given) as place:
        cells = quick() if given.quick else full()[: given.cells]
        sweeps.check_data({DATASETS[cell.dataset] for cell in cells}, place)
        rows = run(measured, cells, place)
        sampled = run(partial(measured, counts=FRESH), cells if given.quick else fresh(cells), place)
    found = page.results(rows, sampled)
    print(f"\n{page.build(found)}")
    if not given.quick:
        sweeps.write_table(folder, RUNS, rows, "")
        sweeps.write_csv(folder / SAMPLES, sampled)
        write(folder, found)


def run(work: Callable[[Cell, Location], pd.DataFrame], cells: list[Cell], place: Location) -> pd.DataFrame:
    """What `work` finds in every cell, one below the other."""
    return pd.concat(Parallel(n_jobs=place.jobs)(delayed(work)(cell, place) for cell in cells), ignore_index=True)


def measured(cell: Cell, place: Location, counts: Sequence[int] = ()) -> pd.DataFrame:
    """The models of a cell and their findings (`planted.measured`); `counts`: on so many fresh forget samples each."""
    if place.jobs > 1:
        sweeps.settle()  # this is a process of its own
    since = time.perf_counter()
    found = planted.sampled(cell.all_words, place, counts, BANK) if counts else planted.measured(cell.all_words, place)
    print(f"{cell.name} ({cell.part}): {time.perf_counter() - since:.0f} s", flush=True)
    named = {"cell": cell.name, "part": cell.part, "dataset": cell.dataset, "forget": cell.forget, "seed": cell.seed}
    rows = pd.concat([pd.DataFrame(named, index=found.index), found], axis=1)
    sweeps.write_csv(place.work / f"{cell.name}{' fresh' if counts else ''}.csv", rows)  # for those who cannot wait
    return rows


def write(folder: Path, found: page.Results) -> None:
    """The page, the rates behind it, and the figure."""
    write_text(folder / "table.md", page.build(found))
    rates = pd.concat([found.power, found.datasets, found.sampled])  # of all, by dataset, by number of forget samples
    sweeps.write_csv(folder / "power.csv", rates)
    sweeps.write_csv(folder / "verdicts.csv", found.verdicts)
    with style.styled():
        style.replace(figure.power(found), folder, "power")
    print(f"Results: {folder}")


if __name__ == "__main__":
    main()
