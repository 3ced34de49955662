"""What a command would do: every job, what the store holds of it, and how long the rest may take. Computes nothing."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from fedunlearn.federation.federation import Federation
from fedunlearn.runs import federations, steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.steps import Determinants, Step
from fedunlearn.settings.config import RunConfig
from fedunlearn.store import Store
from fedunlearn.store.catalogue import entries
from fedunlearn.store.manifest import Manifest

KINDS = ("train", "retrain", "unlearn", "repair", "deploy", "audit")
SOME = ("repair", "deploy")  # shown where a job has such stages
WORK = ("data.fingerprint", "model", "device", "audit.name")  # what the time of a round (or of an audit) depends on
NOTE = (
    "Stages in the store, of those that the job needs. The estimate is for the others; what several jobs share counts "
    "for the first of them. It comes from stored stages of the same kind on the same model and data (≥: for some "
    "stages there is nothing to go by)."
)


@dataclass(frozen=True)
class Planned:
    """A job that was asked for; `finished`: its folder holds its results."""

    title: str
    config: RunConfig
    finished: bool


@dataclass(frozen=True)
class Row:
    """A job that is not finished: what it needs, which of that the store holds, what is left for it to compute."""

    needed: list[Step]
    held: list[Step]
    own: list[Step]

    def share(self, kind: str) -> str:
        """`2/3`: how many stages of that kind are in the store."""
        count = {name: sum(step.kind == kind for step in getattr(self, name)) for name in ("held", "needed")}
        return f"{count['held']}/{count['needed']}"


class Lookup:
    """Looks at jobs one after another. Jobs on the same data share one federation, and a step counts once."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._federations: dict[str, Federation] = {}
        self._held: dict[str, bool] = {}
        self._claimed: set[str] = set()

    def row(self, config: RunConfig) -> Row:
        """What there is of a job, and what is left that no earlier job has to compute anyway."""
        needed = list(steps.of_run(config, self._federation(config)).kept)
        held = [step for step in needed if self._holds(step)]
        own = [step for step in needed if not self._holds(step) and step.key not in self._claimed]
        self._claimed.update(step.key for step in own)
        return Row(needed, held, own)

    def _federation(self, config: RunConfig) -> Federation:
        """Jobs come in any order, such as one seed after the other for every method: all are kept."""
        name = federations.described(config)
        if name not in self._federations:
            self._federations[name] = federations.opened(config)
        return self._federations[name]

    def _holds(self, step: Step) -> bool:
        if step.key not in self._held:
            self._held[step.key] = bool(self._store and self._store.peek(step.kind, step.determinants()))
        return self._held[step.key]


class Clock:
    """Estimates from the time that stored stages took, per round: of the same method first, else of any."""

    def __init__(self, past: Sequence[Manifest]) -> None:
        self._rates: dict[Hashable, list[float]] = {}
        for manifest in past:
            rate = manifest.seconds / _rounds(manifest.determinants)
            for traits in _traits(manifest.stage, manifest.determinants):
                self._rates.setdefault(traits, []).append(rate)

    def seconds(self, step: Step) -> float | None:
        """How long the stage may take; None if nothing like it was ever done."""
        for traits in _traits(step.kind, step.determinants()):
            if rates := self._rates.get(traits):
                return sum(rates) / len(rates) * _rounds(step.determinants())
        return None

    def text(self, waiting: Sequence[Step]) -> str:
        """`4 min`; `≥ 4 min` where only some stages can be estimated; `?` where none can; empty for no stages."""
        known = [seconds for step in waiting if (seconds := self.seconds(step)) is not None]
        if not known:
            return "?" if waiting else ""
        return ("" if len(known) == len(waiting) else "≥ ") + duration(sum(known))


def show(planned: Sequence[Planned], console: Console) -> None:
    """Print the table of jobs and the totals."""
    config = planned[0].config
    root = Path(config.store.dir).expanduser()
    store = Store(root, console.say) if config.store.enabled and root.is_dir() else None
    past = [entry.manifest for entry in entries(root) if entry.finished and entry.manifest] if store else []
    lookup, clock = Lookup(store), Clock(past)
    rows = [None if job.finished else lookup.row(job.config) for job in planned]
    console.show(_table(planned, rows, clock))
    console.say(NOTE, style="dim")
    left = [step for row in rows if row for step in row.own]
    jobs = "1 job" if len(planned) == 1 else f"{len(planned)} jobs"
    time = f", about {clock.text(left)}" if left else ""
    console.say(f"{jobs}, {sum(job.finished for job in planned)} finished; {len(left)} stages to compute{time}")


def _table(planned: Sequence[Planned], rows: Sequence[Row | None], clock: Clock) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    needed = {step.kind for row in rows if row for step in row.needed}
    kinds = [kind for kind in KINDS if kind in needed or kind not in SOME]
    for title in ("job", "what", *kinds, "estimate"):
        table.add_column(title, justify="left" if title == "what" else "right")
    for number, (job, row) in enumerate(zip(planned, rows, strict=True), start=1):
        if row is None:
            table.add_row(str(number), job.title, *("" for _ in kinds), "finished", style="dim")
        else:
            table.add_row(str(number), job.title, *map(row.share, kinds), clock.text(row.own) or "in store")
    return table


def _traits(kind: str, determinants: Determinants) -> tuple[Hashable, Hashable]:
    """What stages that take alike have in common: with the method, and without."""
    work = json.dumps([kind, *(_select(determinants, path) for path in WORK)])
    return (work, _select(determinants, "spec.method")), work


def _rounds(determinants: Determinants) -> int:
    rounds = _select(determinants, "rounds")
    return max(1, rounds) if isinstance(rounds, int) else 1


def _select(determinants: Any, path: str) -> Any:
    for key in path.split("."):
        determinants = determinants.get(key) if isinstance(determinants, dict) else None
    return determinants


def duration(seconds: float) -> str:
    """`12 s`, `4 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
