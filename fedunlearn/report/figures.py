"""Draw the figures of a run and of a sweep into files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fedunlearn.report import (
    answers_figure,
    attention_figure,
    cost_figure,
    exhibit_figures,
    feature_map_figure,
    partition_figure,
    profile,
    run_figures,
    style,
    survival_figure,
    sweep_figure,
    swept_figure,
)
from fedunlearn.report.legible import drawable, legible
from fedunlearn.report.runs import Run
from fedunlearn.report.tables import as_unlearned
from fedunlearn.results.findings import Declared

OF_A_RUN: dict[str, Callable[..., Figure | None]] = {
    "erasure_utility": run_figures.erasure_utility,
    "survival": survival_figure.survival,
    "class_flow": run_figures.class_flow,
    "feature_map": feature_map_figure.feature_map,
    "examples": answers_figure.examples,
    "attention": attention_figure.attention,
    "confusion": answers_figure.confusion,
    "partition": partition_figure.partition,
    "clients": answers_figure.clients,
    "profile": lambda run, sheet=style.WIDE: None if sheet.stacked else profile.figure(run),
}
OF_A_SWEEP: dict[str, Callable[..., Figure | None]] = {
    "erasure_utility": sweep_figure.erasure_utility,
    "distance_cost": cost_figure.distance_cost,
    "swept": swept_figure.swept,
}


def of_a_run(run: Run) -> dict[str, Callable[..., Figure | None]]:
    """The figures of every run, and those that this run's audits declare."""
    return {**exhibit_figures.asked_for(run), **OF_A_RUN}


def draw(run: Run, names: Collection[str] | None = None, titled: bool = True) -> list[Path]:
    """Write `figures/NAME.png`, `.svg` and `.pdf` into the run's folder; returns their paths.

    From its summary, metrics and exhibits. Those that a page shows on phones are in `figures/narrow/`.

    A figure that the run has nothing to show in is left out (class flow where no class was forgotten), and an older
    one of that name is removed.
    """
    known = of_a_run(run)
    chosen = {name: known[name] for name in (known if names is None else names)}
    return _drawn(chosen, run.folder / "figures", titled and has_titles(run), legible(run))


def has_titles(run: Run) -> bool:
    """Not if it was run with `report.titles=false`."""
    return _chosen(run, "titles")


def are_wanted(run: Run) -> bool:
    """Not if it was run with `report.figures=false`."""
    return _chosen(run, "figures")


def _chosen(run: Run, name: str) -> bool:
    chosen = run.summary.config.get("report")
    return not isinstance(chosen, Mapping) or chosen.get(name) is not False


def _drawn(figures: Mapping[str, Callable[..., Figure | None]], folder: Path, titled: bool, *given: Any) -> list[Path]:
    written: list[Path] = []
    with style.styled():
        for name, figure_of in figures.items():
            files = style.replace(figure_of(*given, style.WIDE if titled else style.UNTITLED), folder, name)
            style.replace_narrow(figure_of(*given, style.PHONE) if files else None, folder, name)
            written += files
    return written


def draw_sweep(rows: pd.DataFrame, declared: Declared, folder: Path, titled: bool = True) -> list[Path]:
    """Write `NAME.png`, `.svg` and `.pdf` of a sweep's figures into `folder`.

    From `tables.tidy` and what its runs declare. Those that a page shows on phones are in `narrow/`.
    """
    whole = as_unlearned(rows)
    shown = whole.assign(**{name: whole[name].map(drawable) for name in ("setting", "label")})
    return _drawn(OF_A_SWEEP, folder, titled, shown, declared)
