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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fedunlearn.errors import RequestError

Status = Literal["done", "failed", "missing"]

NAMED = tuple(("config", section, "name") for section in ("method", "dataset", "model", "partition"))
MEASURED = tuple(("models", model) for model in ("original", "retrained", "unlearned"))


@dataclass(frozen=True)
class Run:
    """A run folder. `reason` says why the run is not done (empty if it is); `summary` is empty if there is none."""

    folder: Path
    status: Status
    reason: str = ""
    summary: dict[str, Any] = field(default_factory=dict)

    def get(self, *path: str) -> Any:
        """What the summary holds under nested keys, such as `get("models", "original")`; None if it holds nothing."""
        value: Any = self.summary
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def numbers(self, *path: str) -> dict[str, float]:
        """The finite numbers of the mapping under `path`, by name; other entries (null, lists) are left out."""
        value = self.get(*path)
        items = value.items() if isinstance(value, dict) else ()
        return {name: float(number) for name, number in items if is_number(number)}

    def retrained(self, audit: str) -> list[float]:
        """The audit's value on each retrained model; the mean alone where the summary does not list them."""
        seeds = self.get("retrained_seeds") or [self.get("models", "retrained") or {}]
        return [float(seed[audit]) for seed in seeds if is_number(seed.get(audit))]

    def failed_gates(self) -> list[str]:
        """Names of the sanity gates that this run did not pass."""
        return [name for name, passed in (self.get("gates") or {}).items() if passed is False]


def is_number(value: object) -> bool:
    """Whether `value` is a finite number (a truth value is not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read(folder: Path) -> Run:
    """The run in `folder`, however it ended."""
    path = folder / "summary.json"
    if not path.is_file():
        return Run(folder, "missing", "unfinished: there is no summary.json" if folder.is_dir() else "not started")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Run(folder, "failed", f"summary.json cannot be read: {error}")
    if not isinstance(summary, dict):
        return Run(folder, "failed", "summary.json holds no summary of a run")
    return _judged(folder, summary)


def _judged(folder: Path, summary: dict[str, Any]) -> Run:
    status = summary.get("status")
    nameless = _absent(summary, NAMED, str)
    known = {} if nameless else summary  # how far it got, a failed run still says what it was
    if status == "failed":
        return Run(folder, "failed", str(summary.get("reason") or "no reason given"), known)
    if status != "done":
        return Run(folder, "missing", f"unfinished: its status is {status!r}", known)
    absent = [*nameless, *_absent(summary, MEASURED, dict)]
    if absent:
        return Run(folder, "failed", f"summary.json is incomplete: no {' and no '.join(absent)}")
    return Run(folder, "done", "", summary)


def _absent(summary: dict[str, Any], paths: Iterable[tuple[str, ...]], kind: type) -> list[str]:
    run = Run(Path(), "done", "", summary)
    return [".".join(path) for path in paths if not isinstance(run.get(*path), kind)]


def find(root: Path) -> list[Run]:
    """All runs in `root` and below, and the jobs of its sweeps that have no folder yet; by folder, 2 before 10.

    Folders are absolute. Raises RequestError if `root` is not a folder or holds no run.
    """
    if not root.is_dir():
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
