"""What a run and a sweep come to, as Python objects: numbers, models, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fedunlearn.api import html
from fedunlearn.errors import RequestError, unknown
from fedunlearn.models.base import Network
from fedunlearn.report import figures, style, tables
from fedunlearn.report import runs as reading
from fedunlearn.report.runs import Run
from fedunlearn.results.findings import Finding, named
from fedunlearn.results.summary import Numbers, Summary
from fedunlearn.results.verdict import Verdict
from fedunlearn.settings.config import FLOAT32

NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class Models:
    """The models of a run, on the CPU: w_o, every w_r, and w_u."""

    original: Network
    retrained: tuple[Network, ...]
    unlearned: Network


Forms = dict[tuple[str, bool], Models]  # by format, and whether they are repaired


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run. `folder`: where its files are; `summary`: all that summary.json holds (docs/output.md)."""

    folder: Path
    summary: Summary
    load: Callable[[tuple[str, bool]], Models] = field(compare=False)
    format: str = FLOAT32
    repaired: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, in the layout of conf/."""
        return self.summary.config

    @property
    def verdict(self) -> str:
        """`erased`, `suppressed`, `over-erased`, `not erased` or `no verdict`."""
        return self.judged.word or NO_VERDICT

    @property
    def judged(self) -> Verdict:
        """The verdict with its reasons, and the margins that it is made of."""
        return self.summary.verdict or Verdict()

    @property
    def findings(self) -> dict[str, Numbers]:
        """Finding by name, by role: `findings["unlearned"]["retain_accuracy"]`; of `retrained`, the mean."""
        return self.summary.models

    @property
    def gap(self) -> Numbers:
        """Unlearned minus retrained, by finding."""
        return self.summary.gap

    @property
    def noise_floor(self) -> Numbers:
        """Highest minus lowest retrained model, by finding."""
        return self.summary.noise_floor

    @property
    def cost(self) -> dict[str, Numbers]:
        """By stage (train, retrain, unlearn): rounds, seconds, bytes_up, bytes_down, samples, failures."""
        return self.summary.cost

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that its models are in: float32, and those of `deploy.formats`."""
        return self.summary.formats

    def at(self, format: str) -> Result:
        """The same of the models as they are in that format: findings, gaps, noise floors, verdict, models.

        Raises RequestError for a format that the run was not asked for.
        """
        if format not in self.formats:
            raise unknown("format of this run", format, self.formats)
        return replace(self, summary=self.summary.at(format), format=format)

    def after_repair(self) -> Result:
        """The same of the models after the repair. Raises RequestError where the run has none."""
        if self.summary.repaired is None:
            raise RequestError("this run repaired no model: it was asked for with repair=none, or is repaired already")
        return replace(self, summary=self.summary.after_repair(), repaired=True)

    @property
    def survival(self) -> dict[str, Numbers]:
        """What of the forgetting is undone in each format, by its name (docs/deploy.md)."""
        return {name: found.survival["unlearned"] for name, found in self.summary.deployed.items()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be known before the numbers are believed."""
        return self.summary.warnings

    @cached_property
    def models(self) -> Models:
        """The models; those of a run that was finished before come from the store.

        Trains what the store does not hold any more.
        """
        return self.load((self.format, self.repaired))

    @property
    def paths(self) -> dict[str, Path]:
        """Every file of the run by its path in the folder, such as `summary.json` or `figures/class_flow.png`."""
        return _files(self.folder)

    @property
    def run(self) -> Run:
        """The run as reports read it."""
        return Run(self.folder, "done", "", self.summary, self.format, self.repaired)

    def table(self) -> pd.DataFrame:
        """Original, retrained, noise floor and method; a column for every finding of the headline, then costs."""
        return _table([self.run])

    def figure(self, name: str) -> Figure:
        """A figure of the run, such as `erasure_utility` or `class_flow`.

        Raises RequestError for a name that does not exist, and for a figure that the run has nothing to show in.
        """
        return _figure(name, figures.of_a_run(self.run), self.run)

    def __repr__(self) -> str:
        return f"<Result of {self.run.chosen('method')}: {self.verdict}, in {self.folder}>"

    def _repr_html_(self) -> str:
        return html.of_run(self.verdict, self.judged.reasons, self.warnings, self.table(), self.folder)


@dataclass(frozen=True, repr=False)
class Sweep:
    """The runs of a sweep in the order of its jobs. `failed`: a sentence for every run that did not end well."""

    folder: Path
    results: tuple[Result, ...]
    failed: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __getitem__(self, number: int) -> Result:
        return self.results[number]

    @property
    def frame(self) -> pd.DataFrame:
        """A row for every finished run and format, as in runs.csv: settings, findings, gaps (docs/output.md)."""
        return tables.frame_of(reading.in_forms(self._runs))

    @property
    def paths(self) -> dict[str, Path]:
        """The files of the sweep itself, such as `report.html` or `runs.csv`."""
        return {name: path for name, path in _files(self.folder).items() if "/" not in name}

    def table(self) -> pd.DataFrame:
        """Per setting: original, retrained, noise floor, then a row for every method; means over seeds."""
        return _table(self._runs)

    def figure(self, name: str) -> Figure:
        """`erasure_utility` or `distance_cost`. Raises RequestError, as a run's does."""
        return _figure(name, figures.OF_A_SWEEP, tables.frame_of(self._runs), reading.declared(self._runs))

    @property
    def _runs(self) -> list[Run]:
        if not self.results:
            raise RequestError(f"no run of the sweep in {self.folder} ended well: {'; '.join(self.failed)}")
        return [result.run for result in self.results]

    def __repr__(self) -> str:
        return f"<Sweep of {len(self.results)} runs in {self.folder}, {len(self.failed)} failed>"

    def _repr_html_(self) -> str:
        return html.of_sweep(len(self.results), self.failed, self.table() if self.results else None, self.folder)


def _files(folder: Path) -> dict[str, Path]:
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if not any(part.startswith(".") for part in name.split("/"))}


def _table(runs: list[Run]) -> pd.DataFrame:
    """What `tables.summary_table` has, for people: readable columns, the model as the index."""
    declared = reading.declared(runs)
    whole = tables.summary_table(tables.frame_of(reading.in_forms(runs)), declared)
    audits = [name for name in whole if str(name) in declared]
    columns = ["setting", "row", "verdict", *audits, *tables.COSTS]
    labels = {"row": "model", **{str(name): _label(named(str(name), declared)) for name in audits}}
    shown = whole[columns].rename(columns=labels)
    several = shown["setting"].nunique() > 1
    return shown.set_index(["setting", "model"]) if several else shown.drop(columns="setting").set_index("model")


def _label(finding: Finding) -> str:
    return finding.label or finding.name


def _figure(name: str, known: dict[str, Callable[..., Figure | None]], *shown: Any) -> Figure:
    if name not in known:
        raise unknown("figure", name, known)
    with style.styled():
        drawn = known[name](*shown)
    if drawn is None:
        raise RequestError(f"there is nothing to show in the figure {name}: its findings are not defined for this run")
    drawn._repr_png_ = partial(_png, drawn)  # type: ignore[attr-defined]  # shown in notebooks, pyplot or not
    return drawn


def _png(figure: Figure) -> bytes:
    picture = BytesIO()
    with style.styled():
        figure.savefig(picture, format="png")
    return picture.getvalue()
