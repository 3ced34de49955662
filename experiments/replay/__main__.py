"""Which retain samples should clients replay, and how few are enough?

    python -m experiments.replay --data DIR   # DIR holds FashionMNIST/raw; no GPU needed
    python -m experiments.replay --quick      # digits, one seed, few rounds: does it work?

Every selector at every share, next to all samples: IID and very unequal clients, two methods, three seeds. The same
command goes on where it was stopped. Written into results/replay: table.md, runs.csv, environment.json.

Runs are made in this process and without figures, which would take longer than unlearning on few samples. Audited are
accuracy and AUSUC alone: a verdict needs three more audits and eight retrained models.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from experiments import sweeps
from experiments.replay import figure, page, union
from experiments.survival.forms import worst_class
from experiments.sweeps import Location, Sweep
from fedunlearn.report import runs as reading
from fedunlearn.report import style, tables
from fedunlearn.runs.resources import Slot

AUDITS = ("audit=quick", "audit.class_flow=null", "gates=warn", "retrain.seeds=2")
SELECTORS = ("random", "class_balanced", "mutual_information", "support_points", "energy", "herding")


@dataclass(frozen=True)
class Plan:
    """What is compared. `words`: those of all runs; the others are combined."""

    words: tuple[str, ...]
    seeds: tuple[int, ...]
    partitions: tuple[tuple[str, ...], ...]
    methods: tuple[str, ...]
    shares: tuple[float, ...]
    selectors: tuple[str, ...] = SELECTORS

    def cells(self) -> list[tuple[str, ...]]:
        """The words of every setting in which selectors are compared, those on the same data together."""
        several = product(self.seeds, self.partitions, self.methods)
        return [(*self.words, f"seed={seed}", *split, f"method={method}") for seed, split, method in several]

    def choices(self) -> list[tuple[str, ...]]:
        """All samples, then every selector at every share."""
        some = product(self.shares, self.selectors)
        return [("select=all",), *((f"select={name}", f"select.share={share:g}") for share, name in some)]


FULL = Plan(
    (
        *("dataset=fashion_mnist", "data.limit=4000", "request.classes=[9]", "train.rounds=12", "train.batch_size=32"),
        *("train.lr=0.05", "train.evaluate_every=0", "unlearn.rounds=4", *AUDITS),
    ),
    seeds=(0, 1, 2),
    partitions=(("partition=iid",), ("partition=dirichlet", "partition.alpha=0.1")),
    methods=("fucrt", "gradient_ascent"),
    shares=(0.01, 0.05, 0.1, 0.2),
)
QUICK = Plan(
    ("dataset=digits", "data.limit=200", "partition.clients=2", "train.rounds=2", "unlearn.rounds=1", *AUDITS),
    seeds=(0,),
    partitions=(("partition=iid",),),
    methods=("finetune",),
    shares=(0.2,),
)


def main() -> None:
    asked = sweeps.plain_parser("replay", __doc__).parse_args()
    sweeps.settle()
    plan = QUICK if asked.quick else FULL
    with sweeps.place_of(asked) as place:
        sweeps.check_data(["digits"] if asked.quick else ["fashion_mnist"], place)
        frame = run(plan, place)
    said = page.build(frame) + "\n\n" + sweeps.commands("python -m experiments.replay --data DIR", commands(plan))
    sweeps.finish("replay", frame, said, asked, lambda folder: draw(frame, folder))


def draw(frame: pd.DataFrame, folder: Path) -> None:
    """The figure, in the look of all others."""
    with style.styled():
        style.replace(figure.accuracy_by_share(frame), folder, "replay")


def run(plan: Plan, place: Location) -> pd.DataFrame:
    """The runs one after another; what is finished is not run again. A row for each."""
    cells, choices, rows = plan.cells(), plan.choices(), []
    for number, (cell, choice) in enumerate(product(cells, choices)):
        print(f"{number + 1} of {len(cells) * len(choices)}: {' '.join(cell[len(plan.words) :] + choice)}", flush=True)
        folder = place.work / "runs" / str(number)
        config = sweeps.job_here([*cell, *choice], folder, place, Slot(number, len(cells) * len(choices), draws=False))
        found = reading.read(folder)
        more = {
            "sweep": "runs",
            "asked": " ".join(choice),
            "share": share(choice),
            "worst_class": worst_class(found, "unlearned"),
        }
        rows.append((found, {**more, **(union.measured(config) if found.status == "done" else {})}))
    frame = tables.frame_of([found for found, _ in rows])
    return pd.concat([pd.DataFrame([more for _, more in rows]), frame], axis=1, verify_integrity=True)


def share(choice: tuple[str, ...]) -> float:
    return float(choice[1].partition("=")[2]) if len(choice) > 1 else 1.0


def commands(plan: Plan) -> list[Sweep]:
    """The same runs as sweeps of the command line."""
    every = (f"seed={_listed(plan.seeds)}", f"method={_listed(plan.methods)}")
    some = (f"select={_listed(plan.selectors)}", f"++select.share={_listed(plan.shares)}")
    return [
        Sweep("runs", (*plan.words, *split, *every, *choice))
        for split in plan.partitions
        for choice in (("select=all",), some)
    ]


def _listed(values: tuple[object, ...]) -> str:
    return ",".join(map(str, values))


if __name__ == "__main__":
    main()
