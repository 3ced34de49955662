"""What the experiments share: sweeps of `fedunlearn -m` with one store, their runs as one table, a folder of results.

Everything that takes time is a stage in the store, and every job that is finished is skipped, so that the command of
an experiment goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from fedunlearn.cli import command_line, main
from fedunlearn.data import sources
from fedunlearn.errors import RequestError
from fedunlearn.files import write_text
from fedunlearn.report import runs, tables
from fedunlearn.report.formats import UNKNOWN, fixed, quantity
from fedunlearn.results.findings import named
from fedunlearn.results.provenance import environment
from fedunlearn.runs import job
from fedunlearn.runs.declarations import declared
from fedunlearn.runs.resources import Slot
from fedunlearn.settings.config import RunConfig
from fedunlearn.sources import remember

ROOT = Path(__file__).resolve().parents[1]
INTERRUPTED = 130
RETRAINED = "retrain.seeds=8"  # with that many, one more is above a band of theirs in 1.5 % of cases (docs/audits.md)
AUDITS = "audit.feature_map=null"  # a picture of each run, which no experiment looks at
# Cells on a part of Fashion-MNIST that is large enough for audits to tell original from retrained models. Experiments
# that share them find each other's models in the store.
FASHION_SETTING = (
    *("dataset=fashion_mnist", "data.limit=6000", "partition.alpha=0.5", "train.rounds=25", "unlearn.rounds=6"),
    *(RETRAINED, AUDITS),
)
FASHION = ("request.classes=[0],[9]", "seed=0,1,2", *FASHION_SETTING)
METHODS = (  # that forget classes. A new one goes to the end, so that the finished runs keep their folders
    "fucrt",
    "relabel",
    "soft_relabel",
    "random_relabel",
    "finetune",
    "gradient_ascent",
    "pruning",
    "momentum_degradation",
    "federaser",
    "fedosd",
    "not",
    "fedau",
    "fused",
    "quickdrop",
    "lra_npp",
    "head_mask",
    "fedavg",
    "retrain",
    "fucrt_plus",
)


@dataclass(frozen=True)
class Sweep:
    """One command `fedunlearn -m WORDS`, whose runs go into a folder of that name."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Location:
    """Where an experiment works: below `work`, with the datasets in `data`, `jobs` runs at a time."""

    work: Path
    store: Path
    data: Path | None = None
    jobs: int = 1

    def words(self, sweep: Sweep) -> list[str]:
        """The sweep's words and those that say where."""
        several = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={self.jobs}"] if self.jobs > 1 else []
        folders = [f"output.dir={self.work / sweep.name}", f"store.dir={self.store}"]
        return [*sweep.words, *self.data_words(), *folders, *several]

    def data_words(self) -> list[str]:
        """Where the datasets are, if that was said."""
        return [f"data.root={self.data}"] if self.data else []


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options that experiments made of sweeps have."""
    made = plain_parser(name, about)
    made.add_argument("--jobs", type=int, default=1, help="runs at a time; more than one needs hydra-joblib-launcher")
    return made


def plain_parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options that all experiments have."""
    made = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="a tiny version, to see that it works; writes no results")
    help = "the folder that holds the datasets (data.root)"
    made.add_argument("--data", "--data-root", type=Path, metavar="DIR", help=help)
    made.add_argument("--work", type=Path, default=ROOT / "outputs" / name, help="where the runs go (%(default)s)")
    return made


@contextmanager
def place_of(asked: argparse.Namespace) -> Iterator[Location]:
    """Where to work: as asked for or, for a quick look, in a folder that is gone afterwards."""
    data = asked.data.expanduser().absolute() if asked.data else None
    jobs = getattr(asked, "jobs", 1)
    if asked.quick:
        with tempfile.TemporaryDirectory(prefix="fedunlearn-") as folder:
            yield Location(Path(folder) / "runs", Path(folder) / "store", data, jobs)
        return
    work = asked.work.expanduser().absolute()
    yield Location(work, work.parent / "store", data, jobs)


def check_data(datasets: Iterable[str], place: Location) -> None:
    """End the process with one sentence and status 2 if a dataset is not there, before hours go into another one."""
    try:
        for name in datasets:
            config = command_line.read([f"dataset={name}", *place.data_words()], main.conf_dir())
            sources.load(config.dataset, config.data, config.seed)
    except RequestError as error:
        sys.exit(main.refuse(error))


def run(sweeps: Sequence[Sweep], place: Location) -> pd.DataFrame:
    """Run the sweeps one after another; what is finished is not run again. The table of all their runs."""
    for number, sweep in enumerate(sweeps, start=1):
        print(f"\n== {number} of {len(sweeps)}: {sweep.name}", flush=True)
        try:
            status = subprocess.run([sys.executable, "-m", "fedunlearn", "-m", *place.words(sweep)]).returncode
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        if status not in (0, 1):  # 1: a run failed, which the others need not wait for
            sys.exit(status)
    return table(sweeps, place.work)


def settle() -> None:
    """Once, before runs in this process, as the command does: the sources of now count, and Flower is quiet."""
    remember()
    logging.getLogger("flwr").setLevel(logging.ERROR)  # what it says takes time


def run_here(sweep: Sweep, place: Location) -> list[Path]:
    """The sweep's jobs, one after another in this process and without figures; what is finished is not run again.

    The folder of each.
    """
    asked = jobs(sweep)
    folders = [place.work / sweep.name / str(number) for number in range(len(asked))]
    for number, (folder, words) in enumerate(zip(folders, asked, strict=True)):
        print(f"{sweep.name} {number + 1} of {len(asked)}", flush=True)
        job_here(words, folder, place, Slot(number, len(asked), draws=False))
    return folders


def job_here(words: Sequence[str], folder: Path, place: Location, slot: Slot) -> RunConfig:
    """One job in this process, not run again if it is finished; its configuration."""
    given = [*words, *place.data_words(), f"output.dir={folder}", f"store.dir={place.store}"]
    config = command_line.read(given, main.conf_dir())
    job.execute(config, folder, given, slot, quiet=True)
    return config


def jobs(sweep: Sweep) -> list[list[str]]:
    """The words of each job; what varies first varies least, so that runs of the same data follow each other."""
    return [list(words) for words in product(*map(_values, sweep.words))]


def _values(word: str) -> list[str]:
    """`seed=0,1` is two words; commas in brackets are of one value."""
    key, _, value = word.partition("=")
    return [f"{key}={each}" for each in re.split(r",(?![^\[]*\])", value)]


def run_apart(groups: Sequence[Sequence[Sweep]], place: Location) -> pd.DataFrame:
    """`run` for each group: rows are named after what differs within their own."""
    return pd.concat([run(group, place) for group in groups], ignore_index=True)


def table(sweeps: Sequence[Sweep], work: Path) -> pd.DataFrame:
    """`tables.tidy` of the sweeps' jobs, with `sweep`, and `asked`: what a job varies, such as `method=fucrt`."""
    listed = [(sweep, job) for sweep in sweeps for job in jobs_of(work / sweep.name)]
    frame = tables.frame_of([runs.read((work / sweep.name / job["dir"]).resolve()) for sweep, job in listed])
    asked = [(sweep.name, varied(job["overrides"], sweeps)) for sweep, job in listed]
    return pd.concat([pd.DataFrame(asked, columns=["sweep", "asked"]), frame], axis=1)


def labels(findings: Iterable[str]) -> list[str]:
    """What these findings, of the audits that are on if nothing is said, are called."""
    known = declared(command_line.read([], main.conf_dir()))
    return [named(name, known).label for name in findings]


def jobs_of(folder: Path) -> list[dict]:
    """The jobs that the sweep in `folder` last listed; folders of earlier ones may lie beside theirs."""
    return list(json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["jobs"])


def varied(words: Iterable[str], sweeps: Sequence[Sweep]) -> str:
    """The overrides of a job that are its own: neither in all of the sweeps, nor its seed, nor where things are."""
    shared = set.intersection(*(set(sweep.words) for sweep in sweeps))
    elsewhere = ("seed=", "data.root=", "output.dir=", "store.dir=", "hydra")
    return " ".join(word for word in words if word not in shared and not word.startswith(elsewhere))


def problems(frame: pd.DataFrame) -> list[str]:
    """A sentence for each run that is not done."""
    bad = frame[frame["status"] != "done"]
    return [f"{row.sweep}: {row.asked} seed {row.seed} {row.status}: {row.reason}" for row in bad.itertuples()]


def finish(
    name: str, frame: pd.DataFrame, page: str, asked: argparse.Namespace, draw: Callable[[Path], object] | None = None
) -> None:
    """Show the page; keep it in results/ unless this was a quick look or a run is missing (exit status 1)."""
    print(f"\n{page}")
    missing = problems(frame)
    if missing:
        print("\n".join(["Not all runs are done; the same command goes on:", *missing]), file=sys.stderr)
        sys.exit(1)
    if not asked.quick:
        publish(ROOT / "results" / name, frame, page, draw)


def publish(folder: Path, frame: pd.DataFrame, page: str, draw: Callable[[Path], object] | None = None) -> None:
    """`table.md`, `runs.csv`, `environment.json` and figures; nothing in them says where on a machine things were."""
    kept = frame.drop(columns=["command", "folder", "reason"]).dropna(axis=1, how="all")
    write_table(folder, "runs.csv", kept, page)
    if draw:
        draw(folder)
    print(f"Results: {folder}")


def write_table(folder: Path, name: str, frame: pd.DataFrame, page: str) -> None:
    """`table.md`, the numbers behind it as a CSV file of that name, and `environment.json`."""
    write_text(folder / "table.md", page)
    write_csv(folder / name, frame)
    write_text(folder / "environment.json", json.dumps(environment(0), indent=1) + "\n")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Numbers as results keep them: six digits."""
    write_text(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def commands(command: str, sweeps: Sequence[Sweep]) -> str:
    """A section of a page: the command of all, and those that it runs."""
    lines = [shlex.join(["fedunlearn", "-m", *sweep.words]) for sweep in sweeps]
    return "\n".join(["## Commands", "", "```", command, "```", "", "runs", "", "```", *lines, "```", ""])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    cells = [list(header), [":--", *["--:"] * (len(header) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def spread(values: pd.Series, scale: float = 1.0, show: Callable[[float], str] = fixed) -> str:
    """`0.981 ± 0.005`: mean and standard deviation (n − 1) of the known values; a dash if there is none."""
    known = scale * pd.to_numeric(values).dropna()
    if known.empty:
        return UNKNOWN
    deviation = f" ± {show(known.std()).lstrip('+')}" if len(known) > 1 else ""
    return show(known.mean()) + deviation


def share_of_retraining(frame: pd.DataFrame, cost: str) -> str:
    """Mean over the runs of a cost of unlearning (seconds, samples) divided by that of one retraining, in per cent."""
    ratio = 100 * frame[f"cost.unlearn.{cost}"] / frame[f"cost.retrain.{cost}"]
    return f"{quantity(ratio.mean())} %"
