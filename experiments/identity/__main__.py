"""Forgetting an individual: what losses reach, what a split by image leaks, and which methods forget whom.

    python -m experiments.identity --faces DIR   # DIR holds the ORL faces, one folder for each person
    python -m experiments.identity               # drawn animals alone
    python -m experiments.identity --models vgg16 mobilenet_v3_large   # instead of the usual backbones
    python -m experiments.identity --quick       # a tiny version that writes no results

The same command goes on where it was stopped. Written into results/identity: table.md, a figure, runs.csv,
environment.json. No picture of a person is written anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from experiments import sweeps
from experiments.identity import figure, films, page
from experiments.sweeps import Sweep
from fedunlearn.report import style

PLAIN = (
    "partition.clients=5",
    "audit.feature_map=null",
    "audit.similarity=null",
    "audit.client_utility=null",
    "report.figures=false",
)
PACE = ("train.rounds=20", "unlearn.rounds=5", "train.evaluate_every=0")
LOSSES = "dataset.embedding.loss=contrastive,triplet,cross_entropy"
SIAMESE = "dataset.embedding.loss=contrastive,triplet"  # those of the study
MODELS = ("cnn", "mobilenet_v3_small", "efficientnet_b0")  # of the backbones; others take minutes a round (README.md)
OFFERED = (*MODELS, "mobilenet_v3_large", "vgg16")
BACKBONE_PACE = ("train.rounds=6", "unlearn.rounds=0")
# The table of losses is about original models: of the rest of a run, as little as there can be.
ONCE = ("method=not", "retrain.seeds=1", "unlearn.rounds=0", "gates=warn")
METHODS = "method=retrain,finetune,gradient_ascent,random_relabel,relabel,fucrt,dispersion"
# With fewer images of each, original models know one individual or other no better than the best known stranger.
ANIMALS = ("dataset=critters", "dataset.train=200")
LARGER = ("dataset=critters", "dataset.train=40", "dataset.size=32")  # the least that all backbones take
HERD = (*ANIMALS, *PLAIN, *PACE)
FORGOTTEN = Sweep(page.METHODS, (METHODS, "request.classes=[1],[6],[11]", "seed=0,1,2", "retrain.seeds=4", *HERD))


def losses(dataset: str, words: tuple[str, ...]) -> Sweep:
    """What original models reach with each loss."""
    return Sweep(f"{page.LOSSES}_{dataset}", (LOSSES, "seed=0", *words, *PLAIN, *PACE, *ONCE))


def backbones(dataset: str, words: tuple[str, ...], models: Sequence[str]) -> list[Sweep]:
    """A sweep for each model, from random weights, all at one pace."""
    shared = ("seed=0", *words, *PLAIN, *ONCE, *BACKBONE_PACE)
    return [Sweep(f"{page.BACKBONES}_{dataset}_{model}", (SIAMESE, *shared, *chosen(model))) for model in models]


def chosen(model: str) -> tuple[str, ...]:
    """The words that choose it: our small network, or one of torchvision's."""
    return ("model=cnn",) if model == "cnn" else ("model=torchvision", f"model.arch={model}")


def faces(folder: Path) -> tuple[str, ...]:
    """The words of a dataset of faces: ten photographs of each person, no frames of films. None is kept in a run."""
    how = ("dataset.size=32", "dataset.channels=grey", "dataset.split=image", "train.local_epochs=5")
    return ("dataset=identity_folder", f"dataset.path={folder}", *how, "audit.retrieval.strips=0")


def leaks(folder: Path) -> Sweep:
    """Animals that were filmed, split by image and by scene, with and without strangers."""
    words = ("dataset=identity_folder", f"dataset.path={folder}", "dataset.size=24", "dataset.split=image,near")
    return Sweep(page.LEAKS, ("seed=0", *words, *PLAIN, *PACE, *ONCE))


def planned(asked_faces: Path | None, film: Path, models: Sequence[str] = MODELS) -> list[list[Sweep]]:
    """All sweeps, each a group of its own: rows are named after what differs within one."""
    of_faces = faces(asked_faces) if asked_faces else ()
    asked = [FORGOTTEN, losses("critters", ANIMALS), *([losses("orl", of_faces)] if of_faces else []), leaks(film)]
    nets = [backbones("critters", LARGER, models), *([backbones("orl", of_faces, models)] if of_faces else [])]
    return [*([sweep] for sweep in asked), *nets]


def quick(film: Path) -> list[list[Sweep]]:
    """A tiny version."""
    tiny = ("dataset.individuals=6", "dataset.never_seen=4", "dataset.train=8", "dataset.test=6", "dataset.size=16")
    small = (*HERD, *tiny, "train.rounds=2", "unlearn.rounds=1", "model.width=4", "gates=warn", "seed=0")
    some = Sweep(page.METHODS, ("method=fucrt,retrain", "request.classes=[0]", "retrain.seeds=2", *small))
    leak = leaks(film)
    short = [word for word in leak.words if not word.startswith(("seed=", "train.rounds="))]
    return [[some], [Sweep(page.LEAKS, (*short, "seed=0", "train.rounds=2"))]]


def main() -> None:
    parser = sweeps.parser("identity", __doc__)
    parser.add_argument("--faces", type=Path, metavar="DIR", help="the ORL faces: one folder for each person")
    usual = f"whose backbones are compared ({' '.join(MODELS)})"
    parser.add_argument("--models", nargs="+", choices=OFFERED, default=MODELS, metavar="MODEL", help=usual)
    asked = parser.parse_args()
    where = asked.faces.expanduser().absolute() if asked.faces else None
    with sweeps.place_of(asked) as place:
        film = films.made(place.work / "films", 4 if asked.quick else 20)
        groups = quick(film) if asked.quick else planned(where, film, asked.models)
        frame = sweeps.run_apart(groups, place)
    frame = frame.replace(re.escape(str(film)), "FILMS", regex=True)
    text = page.build(frame) + "\n\n" + commands(groups, asked.models, where)
    sweeps.finish("identity", frame, text, asked, partial(draw, frame))


def draw(frame: pd.DataFrame, folder: Path) -> None:
    """The figure of the methods."""
    with style.styled():
        style.replace(figure.drawn(frame[frame["sweep"] == page.METHODS]), folder, "identity")


def commands(groups: list[list[Sweep]], models: Sequence[str], where: Path | None) -> str:
    """What was run, without the places of this machine."""
    hidden = {str(where): "FACES"} if where else {}
    shown = [
        Sweep(sweep.name, tuple(_hidden(word, hidden) for word in sweep.words)) for group in groups for sweep in group
    ]
    others = f" --models {' '.join(models)}" if tuple(models) != MODELS else ""
    return sweeps.commands("python -m experiments.identity" + " --faces DIR" * bool(where) + others, shown)


def _hidden(word: str, places: dict[str, str]) -> str:
    if not word.startswith("dataset.path="):
        return word
    return f"dataset.path={places.get(word.partition('=')[2], 'FILMS')}"


if __name__ == "__main__":
    main()
