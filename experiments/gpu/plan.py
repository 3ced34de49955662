"""What is measured, most valuable first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments import sweeps
from experiments.fucrt_table import __main__ as table
from experiments.gpu.slices import Slice
from fedunlearn.report import runs, tables

BENCHMARKS = {  # slice: workload, who, and what stands for the workload where there is no GPU
    "stacked against one by one": ("gpu_cnn_50", "cnn_100", ("local", "stacked")),
    "1,000 clients, 50 a round": ("gpu_cnn_1000", "cnn_1000", ("local", "tuned")),
    "an epoch of ResNet-18": ("gpu_resnet18", "resnet18_10", ("local", "tuned")),
}


@dataclass(frozen=True)
class Place:
    """Where results go, where work is done, and where CIFAR-10 is. `quick`: tiny sizes, for a CPU."""

    out: Path
    work: Path
    data: Path | None
    quick: bool = False


def planned(place: Place) -> Iterator[Slice]:
    """All slices, in their order."""
    yield Slice("engines", (*_module("engines"), *_quickly(place), str(place.out / "engines.csv"), str(place.work)))
    yield from (_benchmark(place, name) for name in BENCHMARKS)
    if place.data or place.quick:
        yield from cells(place)


def _module(name: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"experiments.gpu.{name}"


def _quickly(place: Place) -> tuple[str, ...]:
    return ("--quick",) if place.quick else ()


def _benchmark(place: Place, name: str) -> Slice:
    on_gpu, elsewhere, who = BENCHMARKS[name]
    given = ("--data", str(place.data)) if place.data else ()
    chosen = ("--only", elsewhere, "--who", *who, "--repeats", "1") if place.quick else ("--only", on_gpu)
    script = str(sweeps.ROOT / "experiments" / "benchmarks" / "run.py")
    words = (sys.executable, script, *_quickly(place), *chosen, *given, "--out", str(place.out / "benchmarks"))
    return Slice(name, words)


def cells(place: Place) -> Iterator[Slice]:
    """FUCRT's table on CIFAR-10, one run at a time: all methods of a seed and partition before the next."""
    size, dataset = table.SIZES["quick" if place.quick else "paper"], "digits" if place.quick else "cifar10"
    asked = [job for way in table.PARTITIONS for job in sweeps.jobs(table.sweep(size, dataset, way))]
    asked.sort(key=lambda words: next(word for word in words if word.startswith("seed=")))  # a stable sort
    folders = [place.work / "cells" / str(number) for number in range(len(asked))]
    where = [f"data.root={place.data}"] if place.data else []
    for words, folder in zip(asked[: 2 if place.quick else None], folders, strict=False):
        own = [f"output.dir={folder}", f"store.dir={place.work / 'store'}", *where]
        name = " ".join([*words[:2], next(word for word in words if word.startswith("partition="))])
        yield Slice(
            name,
            (sys.executable, "-m", "fedunlearn", *words, *own, "report.figures=false"),
            lambda: keep(place.out / "cells.csv", folders),
        )


def keep(path: Path, folders: list[Path]) -> None:
    """A row for each finished cell; nothing in it says where on a machine it was."""
    done = [run for folder in folders if folder.is_dir() and (run := runs.read(folder)).status == "done"]
    if done:
        frame = tables.frame_of(done).drop(columns=["command", "folder", "reason"], errors="ignore")
        sweeps.write_csv(path, frame.dropna(axis=1, how="all"))
