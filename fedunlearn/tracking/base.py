"""What a tracker is told while a run goes on, and the shield that keeps a tracker's failures to itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fedunlearn.errors import RequestError
from fedunlearn.plain import flat
from fedunlearn.results.summary import Summary
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice


class Tracker(Protocol):
    """Receives what a run measures. `measured` is called for every round of every stage, cached ones included."""

    def measured(self, stage: str, number: int, values: Mapping[str, float]) -> None:
        """Round `number` (0: before the first) of `stage` ended with these values."""

    def finished(self, summary: Summary) -> None:
        """The run is done; `summary` is what its summary.json holds."""

    def close(self, status: str) -> None:
        """Nothing follows. `status`: done, failed or interrupted."""


@dataclass(frozen=True)
class Tracked:
    """The run that is tracked: its folder, a name for people, and its configuration as plain data.

    `work`: where its files are written. A hidden folder while a finished run lies in `folder`, which they take the
    place of, with all other files, once the run is complete.
    """

    folder: Path
    work: Path
    name: str
    config: dict[str, Any]


@dataclass(frozen=True)
class TrackerKind:
    """A registered tracker. `package`: what must be importable; `extra`: the pip extra that brings it, if any."""

    name: str
    settings: type
    package: str
    extra: str
    start: Callable[[Any, Tracked], Tracker]
    about: str = ""  # for those who read conf/


class Silent:
    """Tells nobody."""

    def measured(self, stage: str, number: int, values: Mapping[str, float]) -> None:
        """Passed over."""

    def finished(self, summary: Summary) -> None:
        """Passed over."""

    def close(self, status: str) -> None:
        """Passed over."""


SILENT = Silent()


class SafeTracker:
    """Another tracker; when it fails it is dropped, with one warning, and the run goes on."""

    def __init__(self, start: Callable[[], Tracker], name: str, warn: Callable[[str], None]) -> None:
        self._name, self._warn = name, warn
        self._tracker: Tracker = SILENT
        self._tell(lambda: setattr(self, "_tracker", start()))

    def measured(self, stage: str, number: int, values: Mapping[str, float]) -> None:
        """Passed on."""
        self._tell(lambda: self._tracker.measured(stage, number, values))

    def finished(self, summary: Summary) -> None:
        """Passed on."""
        self._tell(lambda: self._tracker.finished(summary))

    def close(self, status: str) -> None:
        """Passed on."""
        self._tell(lambda: self._tracker.close(status))

    def _tell(self, say: Callable[[], None]) -> None:
        try:
            say()
        except Exception as error:
            self._tracker = SILENT
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._warn(f"{self._name} failed and is not used any more ({reason}); the run goes on")


@contextmanager
def opened(chosen: Choice, run: Tracked, warn: Callable[[str], None]) -> Iterator[Tracker]:
    """The chosen tracker, shielded, told at the end how the block ended."""
    kind: TrackerKind = registry.find("tracker", chosen.name)
    tracker = SafeTracker(lambda: kind.start(chosen.settings, run), kind.name, warn)
    status = "interrupted"
    try:
        yield tracker
        status = "done"
    except Exception:
        status = "failed"
        raise
    finally:
        tracker.close(status)


def check(kind: TrackerKind) -> None:
    """Is the tracker's package there? Raises RequestError, naming what to install."""
    if kind.package and importlib.util.find_spec(kind.package) is None:
        wanted = f"fedunlearn[{kind.extra}]" if kind.extra else kind.package
        raise RequestError(
            f"tracking={kind.name} needs the package {kind.package}, which is not installed: pip install '{wanted}'"
        )


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with dotted names (`train.lr`), as trackers show it; lists and empty groups as text."""
    return {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in flat(config).items()}


def audit_values(summary: Summary) -> dict[str, float]:
    """The numbers of a summary worth a column: `unlearned/leak`, `gap/leak`, `unlearned.int4/leak`, …, and the cost."""
    groups = {**summary.models, "gap": summary.gap, "cost": summary.cost["unlearn"]}
    groups |= {"gap.repaired": summary.repaired.gap} if summary.repaired else {}
    for format, found in summary.deployed.items():
        groups |= {f"{name}.{format}": values for name, values in {**found.models, "gap": found.gap}.items()}
    return {f"{group}/{name}": x for group, values in groups.items() for name, x in values.items() if x is not None}
