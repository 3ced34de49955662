"""Which of the running code a result depends on, and whether it is still the code on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from fedunlearn.settings import registry
from fedunlearn.sources import OURS, SourceFile, Sources, package, plugin, reached, version

# Rooms whose members take part one by one: a member stands with what it imports. Every other room takes part whole.
MEMBERS = ("augment", "methods", "repair", "audits", "deploy", "select")
# What only shows, or decides what is run: no number of a model or an audit can come from here.
SHOWING = ("__main__.py", "api", "cli", "report", "results", "tracking")
SUMMING_UP = ("curves", "summarise")  # of runs/, with results/: from models and findings to a summary
SHOWING_RUNS = (
    *("composing", "console", "flower_log", "folders", "forecast", "job", "joblist", "overrides", "preflight"),
    *("resources", "submission", "sweep"),
)
TRAINING = ("torch", "torchvision", "flwr", "numpy")
SELECTING = ("scikit-learn", "scipy")  # besides
CONVERTING = {"reference": ("torch",), "torchao": ("torch", "torchao")}  # by backend
AUDITING = (*TRAINING, "scikit-learn", "scipy")

Members = tuple[tuple[str, str], ...]  # (kind, name) of what takes part, as the registry knows it


@dataclass(frozen=True)
class Code:
    """The code behind a result. `parts`: by what they are called in a key; `libraries`: distribution -> version."""

    parts: Mapping[str, Sources]
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def determinants(self) -> dict[str, Any]:
        """What a key says of it."""
        return {"code": {name: part.digest for name, part in self.parts.items()}, "versions": dict(self.libraries)}

    def changes(self) -> list[Path]:
        """The source files that are no longer what this process read when it started."""
        return sorted({path for part in self.parts.values() for path in part.changes()})


@cache
def behind(members: Members, libraries: tuple[str, ...]) -> Code:
    """The code behind a result in which `members` take part."""
    parts = {OURS: Sources(_shared())}
    for kind, name in members:
        origin = registry.origin(kind, name)
        if not isinstance(origin, str):
            parts[origin.value.partition(":")[0].partition(".")[0]] = plugin(origin)
        elif own := reached(origin, _others()):
            parts[origin] = Sources(own)
    return Code(parts, {name: version(name) for name in libraries})


def summing_up() -> Code:
    """The code that makes a run's summary of its models and findings."""
    files = [file for file in package(OURS) if _room(file) == "results" or _in_runs(file, SUMMING_UP)]
    return Code({OURS: Sources(tuple(files))})


def _shared() -> tuple[SourceFile, ...]:
    apart = (*MEMBERS, *SHOWING)
    return tuple(
        file for file in package(OURS) if _room(file) not in apart and not _in_runs(file, (*SHOWING_RUNS, *SUMMING_UP))
    )


def _others() -> Iterable[SourceFile]:
    shared = set(_shared())
    return [file for file in package(OURS) if file not in shared]


def _room(file: SourceFile) -> str:
    return PurePosixPath(file.name).parts[1]


def _in_runs(file: SourceFile, stems: tuple[str, ...]) -> bool:
    return _room(file) == "runs" and PurePosixPath(file.name).stem in stems
