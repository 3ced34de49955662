"""Does augmentation change where models look, and can augmentations be told apart by it?

    python -m experiments.augmentation --data DIR   # DIR holds cifar-10-batches-py; no GPU needed
    python -m experiments.augmentation --quick      # digits, two augmentations, two states: does it work?

The question and the methodology are those of Dorneles, Garcia and Carbonera (arXiv 2505.12581): models with each
augmentation and without, from several starting states, compared by six measures of their maps of evidence. The same
command goes on where it was stopped. Written into results/augmentation: README.md (the answers), table.md, maps.csv,
environment.json, and the figures profiles and maps. Needs captum (`pip install "fedunlearn[captum]"`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments import sweeps
from experiments.augmentation import answers, figure, looks, page
from experiments.sweeps import ROOT, Location, Sweep
from fedunlearn.data.types import Dataset
from fedunlearn.files import write_text
from fedunlearn.report import style
from fedunlearn.runs import federations
from fedunlearn.settings.config import RunConfig

NAMES = ("none", "flip_crop", "rotation", "colour", "erasing", "blur", "mixup", "cutmix")
BASE = ("gates=warn", "train.evaluate_every=0")
SIZE = (
    *("dataset=cifar10", "data.limit=2000", "partition=iid", "partition.clients=4", "train.rounds=8"),
    *("train.local_epochs=2", "train.batch_size=32"),
)
TINY = ("dataset=digits", "data.limit=400", "partition=iid", "partition.clients=3", "train.rounds=4")
FULL = Sweep("maps", ("seed=0,1,2", f"augment={','.join(NAMES)}", *SIZE, *BASE))
QUICK = Sweep("maps", ("seed=0,1", "augment=none,flip_crop,mixup", *TINY, *BASE))


def main() -> None:
    asked = sweeps.plain_parser("augmentation", __doc__).parse_args()
    sweeps.settle()
    with sweeps.place_of(asked) as place:
        sweeps.check_data(["digits"] if asked.quick else ["cifar10"], place)
        seen = explored(QUICK if asked.quick else FULL, place)
    print(f"\n{answers.build(seen.maps)}\n{page.build(seen.maps)}")
    if not asked.quick:
        publish(ROOT / "results" / "augmentation", seen)


@dataclass(frozen=True)
class Seen:
    """`maps`: `looks.compared`; `looks`: what that is made of; and the data."""

    maps: pd.DataFrame
    looks: list[looks.Looks]
    data: Dataset


def explored(sweep: Sweep, place: Location) -> Seen:
    """The original model of each job, from the store or trained now, and what its maps say."""
    configs = [looks.configured(words, place) for words in sweeps.jobs(sweep)]
    found = [looked(config) for config in configs]
    return Seen(looks.compared(found), found, federations.opened(configs[-1]).dataset)


def looked(config: RunConfig) -> looks.Looks:
    """`looks.looked`, announced."""
    print(f"{config.augment.name}, state {config.seed}", flush=True)
    return looks.looked(config)


def publish(folder: Path, seen: Seen) -> None:
    """Answers, tables, figures, and what they are made of."""
    write_text(folder / "README.md", answers.build(seen.maps))
    sweeps.write_table(folder, "maps.csv", seen.maps, page.build(seen.maps))
    with style.styled():
        style.replace(figure.profiles(seen.maps), folder, "profiles")
        style.replace(figure.maps(seen.looks, seen.data), folder, "maps")
    print(f"Results: {folder}")


if __name__ == "__main__":
    main()
