"""Read run folders: which there are below a folder, how each ended, and what it measured.

A run folder holds `summary.json` once the run has ended; one that holds only `config.yaml` was started and did not
end. A sweep's folder may hold `sweep.json`, `{"jobs": [{"dir": ..., "overrides": [...]}, ...]}`, with `dir` relative
to that folder: a job whose folder holds no summary is missing. Nothing here raises for a bad run: it is a run that
failed, with a reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fedunlearn.errors import RequestError
from fedunlearn.files import is_folder
from fedunlearn.report import names
from fedunlearn.results import summary as summaries
from fedunlearn.results.findings import Finding, named
from fedunlearn.results.summary import Numbers, Summary
from fedunlearn.settings.config import FLOAT32

Status = Literal["done", "failed", "missing"]

NAMED = ("method", "dataset", "model", "partition")  # sections of a configuration that name what was chosen
MODELS = ("original", "retrained", "unlearned")
NOTHING = Summary("missing")


@dataclass(frozen=True)
class Run:
    """A run folder. `reason` says why the run is not done (empty if it is); `summary` is empty if there is none.

    `format`: the one of the models that `summary` is about; `repaired`: is it about them after the repair?
    `survival`: what of their forgetting the format undoes, by role (`results.survival`).
    """

    folder: Path
    status: Status
    reason: str = ""
    summary: Summary = NOTHING
    format: str = FLOAT32
    repaired: bool = False
    survival: Mapping[str, Numbers] = field(default_factory=dict)

    @property
    def as_unlearned(self) -> bool:
        """Is it about the models as unlearning leaves them, in no other form?"""
        return self.format == FLOAT32 and not self.repaired

    @property
    def repair(self) -> str:
        """The repair that its models went through; empty for none."""
        return self.chosen("repair") if self.repaired else ""

    def after_repair(self) -> Run:
        """The same run, of its models after the repair."""
        return replace(self, summary=self.summary.after_repair(), repaired=True)

    def at(self, format: str) -> Run:
        """The same run, of its models in that format alone."""
        found = self.summary.deployed.get(format)
        undone = found.survival if found else {}
        return replace(self, summary=self.summary.at(format), format=format, survival=undone)

    def chosen(self, section: str) -> str:
        """The name of the method (dataset, model, partition) of this run; empty if it is not known."""
        part = self.summary.config.get(section)
        return str(part.get("name", "")) if isinstance(part, Mapping) else ""

    @property
    def seed(self) -> int | None:
        """The seed that it was run with."""
        seed = self.summary.config.get("seed")
        return seed if isinstance(seed, int) else None

    def values(self, model: str) -> dict[str, float]:
        """The findings on a model that are known, by name."""
        return known(self.summary.models.get(model, {}))

    def retrained(self, finding: str) -> list[float]:
        """The finding's value on each retrained model; the mean alone where the summary does not list them."""
        seeds = self.summary.retrained_seeds or (self.summary.models.get("retrained", {}),)
        return [value for seed in seeds if (value := seed.get(finding)) is not None]

    def finding(self, name: str) -> Finding:
        """The declaration of a finding of this run."""
        return named(name, self.summary.findings)

    def present(self, name: str) -> str:
        """The finding, or the one that stands in for it where this run has that one alone."""
        measured = self.values("unlearned")
        others = [other for other in measured if self.finding(other).stands_in_for == name]
        return next((found for found in (name, *others) if found in measured), name)

    def failed_gates(self) -> list[str]:
        """Names of the sanity gates that this run did not pass."""
        return [name for name, passed in self.summary.gates.items() if not passed]


def in_forms(runs: Sequence[Run]) -> list[Run]:
    """The runs as they are, then those that have models in other forms once more in each: repaired, or in a format."""
    exact = [*runs, *(run.after_repair() for run in runs if run.summary.repaired)]
    formats = dict.fromkeys(format for run in exact for format in run.summary.deployed)
    return [*exact, *(run.at(format) for format in formats for run in exact if format in run.summary.deployed)]


def known(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """Those that are there."""
    return {name: number for name, number in numbers.items() if number is not None}


def declared(runs: Iterable[Run]) -> dict[str, Finding]:
    """The findings of all runs, in the order in which they first come; a declaration goes before none."""
    found: dict[str, Finding] = {}
    for run in runs:
        for name in {**run.summary.findings, **run.values("unlearned")}:
            if name not in found or name in run.summary.findings:
                found[name] = run.finding(name)
    return found


def is_number(value: object) -> bool:
    """Whether `value` is a finite number (a truth value is not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read(folder: Path) -> Run:
    """The run in `folder`, however it ended."""
    if not (folder / summaries.NAME).is_file():
        return Run(folder, "missing", "unfinished: there is no summary.json" if folder.is_dir() else "not started")
    try:
        summary = summaries.read(folder)
        names.setting(summary.config, summary.class_names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Run(folder, "failed", f"summary.json cannot be read: {error}")
    return _judged(folder, summary)


def _judged(folder: Path, summary: Summary) -> Run:
    run = Run(folder, "done", "", summary)
    nameless = [f"config.{section}.name" for section in NAMED if not run.chosen(section)]
    known = NOTHING if nameless else summary  # how far it got, a failed run still says what it was
    if summary.status == "failed":
        return Run(folder, "failed", summary.reason or "no reason given", known)
    if summary.status != "done":
        return Run(folder, "missing", f"unfinished: its status is {summary.status!r}", known)
    absent = [*nameless, *(f"models.{model}" for model in MODELS if model not in summary.models)]
    if absent:
        return Run(folder, "failed", f"summary.json is incomplete: no {' and no '.join(absent)}")
    return run


def find(root: Path) -> list[Run]:
    """All runs in `root` and below, and the jobs of its sweeps that have no folder yet; by folder, 2 before 10.

    Folders are absolute. Raises RequestError if `root` is not a folder or holds no run.
    """
    if not is_folder(root):
        raise RequestError(f"there is no folder {str(root)!r}")
    root = root.resolve()
    started = {path.parent for name in ("summary.json", "config.yaml") for path in _below(root, name)}
    runs = {folder: read(folder) for folder in started}
    for plan in _below(root, "sweep.json"):
        for job in _jobs(plan):
            if job.folder not in runs or runs[job.folder].status == "missing":
                runs[job.folder] = job
    if not runs:
        raise RequestError(f"{str(root)!r} holds no runs: no summary.json, config.yaml or sweep.json in it or below")
    return [runs[folder] for folder in sorted(runs, key=_natural)]


def relative(run: Run, root: Path) -> str:
    """The run's folder as seen from `root`, or in full if it is elsewhere."""
    root = root.resolve()
    return run.folder.relative_to(root).as_posix() if run.folder.is_relative_to(root) else str(run.folder)


def _below(root: Path, name: str) -> Iterator[Path]:
    """Files of that name, hidden folders (such as Hydra's own `.hydra`) aside."""
    for path in root.rglob(name):
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def _jobs(plan: Path) -> Iterable[Run]:
    """Every job of a sweep; if it is missing, its reason says by which overrides it differs from others."""
    try:
        jobs = [(job["dir"], job.get("overrides", [])) for job in json.loads(plan.read_text(encoding="utf-8"))["jobs"]]
        shared = set.intersection(*(set(overrides) for _, overrides in jobs)) if len(jobs) > 1 else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [Run(plan, "failed", f"sweep.json cannot be read: {error!r}")]
    return [
        _with_overrides(read((plan.parent / folder).resolve()), [word for word in overrides if word not in shared])
        for folder, overrides in jobs
    ]


def sweep_command(folder: Path) -> str:
    """The command of the sweep whose folder this is; empty if it is no sweep's, or not known."""
    try:
        return str(json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _with_overrides(run: Run, overrides: Iterable[str]) -> Run:
    given = " ".join(map(str, overrides))
    return Run(run.folder, run.status, f"{run.reason} ({given})" if given else run.reason, run.summary)


def _natural(path: Path) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", str(path))]


def curve(folder: Path, stage: str, name: str) -> dict[int, float]:
    """`metrics.jsonl`: the values of `name` in `stage` by round, in order of rounds.

    A resumed run may have written a round twice (the last counts) and a killed one may have left half a line (which
    is passed over). Empty if there is no such file.
    """
    path = folder / "metrics.jsonl"
    values: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        if json.dumps(name) not in line:  # most lines, and reading them takes most of the time
            continue
        try:
            entry = json.loads(line)
            if (entry["stage"], entry["name"]) == (stage, name) and is_number(entry["value"]):
                values[int(entry["round"])] = float(entry["value"])
        except (ValueError, KeyError, TypeError):
            continue
    return dict(sorted(values.items()))
