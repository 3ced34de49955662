"""Does augmentation change where models look, and how hard a class is to forget?

    python -m experiments.augmentation --data DIR   # DIR holds cifar-10-batches-py; no GPU needed
    python -m experiments.augmentation --quick      # digits, two augmentations, two seeds: does it work?

The first question is that of Dorneles, Garcia and Carbonera (arXiv 2505.12581), whose methodology this follows: models
with each augmentation and without, from several starting states, compared by six measures of their maps of evidence.
The second is ours. The same command goes on where it was stopped. Written into results/augmentation: README.md (the
answers), table.md (the tables), runs.csv, maps.csv, environment.json, and the figures profiles, forgetting and maps.
Maps need captum (`pip install "fedunlearn[captum]"`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments import sweeps
from experiments.augmentation import answers, figure, looks, page
from experiments.sweeps import Location, Sweep
from fedunlearn.data.types import Dataset
from fedunlearn.files import write_text
from fedunlearn.report import runs, style, tables
from fedunlearn.runs import federations
from fedunlearn.settings.config import RunConfig

NAMES = ("none", "flip_crop", "rotation", "colour", "erasing", "blur", "mixup", "cutmix")
METHODS = {  # mixed images leave no features of single samples, so that prototypes take a pass of their own
    "fucrt": ("method=fucrt", "method.prototypes_by=trained"),
    "relabel": ("method=relabel",),
    "finetune": ("method=finetune",),
}
BASE = ("request.classes=[9]", "audit=quick", "gates=warn", "train.evaluate_every=0")
SIZE = (
    *("dataset=cifar10", "data.limit=2000", "partition=iid", "partition.clients=4", "train.rounds=8"),
    *("train.local_epochs=2", "train.batch_size=32", "unlearn.rounds=2", "retrain.seeds=2"),
)
TINY = (
    *("dataset=digits", "data.limit=400", "partition.clients=3", "partition.alpha=1", "train.rounds=4"),
    *("train.local_epochs=2", "unlearn.rounds=1", "retrain.seeds=2"),
)


def main() -> None:
    asked = sweeps.plain_parser("augmentation", __doc__).parse_args()
    sweeps.settle()
    plan = quick() if asked.quick else full()
    with sweeps.place_of(asked) as place:
        sweeps.check_data(["digits"] if asked.quick else ["cifar10"], place)
        seen = explored(plan, place)
    numbers = page.build(seen.runs, seen.maps)
    numbers += "\n\n" + sweeps.commands("python -m experiments.augmentation --data DIR", plan)
    print(f"\n{answers.build(seen.runs, seen.maps)}")
    sweeps.finish("augmentation", seen.runs, numbers, asked, lambda folder: keep(folder, seen))


@dataclass(frozen=True)
class Seen:
    """`runs`: as `run` has them; `maps`: `looks.compared`; `looks`: what that is made of; and the data."""

    runs: pd.DataFrame
    maps: pd.DataFrame
    looks: list[looks.Looks]
    data: Dataset


def explored(plan: Sequence[Sweep], place: Location) -> Seen:
    """The maps of all original models, and then the runs, which find these models in the store."""
    configs = [looks.configured(words, place) for words in sweeps.jobs(plan[-1])]
    found = [looked(config) for config in configs]
    frame = pd.concat([run(sweep, place) for sweep in plan], ignore_index=True)
    return Seen(frame, looks.compared(found), found, federations.opened(configs[-1]).dataset)


def looked(config: RunConfig) -> looks.Looks:
    """`looks.looked`, announced."""
    print(f"maps: {config.augment.name}, state {config.seed}", flush=True)
    return looks.looked(config)


def keep(folder: Path, seen: Seen) -> None:
    """What is not runs: the answers, the comparisons of maps and the figures."""
    write_text(folder / "README.md", answers.build(seen.runs, seen.maps))
    sweeps.write_csv(folder / "maps.csv", seen.maps)
    with style.styled():
        style.replace(figure.profiles(seen.maps), folder, "profiles")
        style.replace(figure.forgetting(seen.runs), folder, "forgetting")
        style.replace(figure.maps(seen.looks, seen.data), folder, "maps")


def full() -> list[Sweep]:
    """Every method; the models before it are shared by all."""
    shared = ("seed=0,1,2", f"augment={','.join(NAMES)}", *SIZE, *BASE)
    return [Sweep(name, (*shared, *words)) for name, words in METHODS.items()]


def quick() -> list[Sweep]:
    """One method that mixes and one that does not."""
    shared = ("seed=0,1", "augment=none,flip_crop,mixup", *TINY, *BASE)
    return [Sweep(name, (*shared, *METHODS[name])) for name in ("fucrt", "finetune")]


def run(sweep: Sweep, place: Location) -> pd.DataFrame:
    """`tables.tidy` of a sweep's runs, with `sweep`, `asked` and `augment`."""
    found = [runs.read(folder) for folder in sweeps.run_here(sweep, place)]
    more = [{"sweep": sweep.name, "asked": each.summary.command, "augment": of(each.summary.config)} for each in found]
    return pd.concat([pd.DataFrame(more), tables.frame_of(found)], axis=1)


def of(config: dict) -> str:
    """The augmentation of a run."""
    return str((config.get("augment") or {}).get("name", "none"))


if __name__ == "__main__":
    main()
