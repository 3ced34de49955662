"""Draw the figures of a run and of a sweep into files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from fedunlearn.report import (
    cost_figure,
    feature_map_figure,
    partition_figure,
    profile,
    run_figures,
    style,
    sweep_figure,
)
from fedunlearn.report.runs import Run
from fedunlearn.results.findings import Declared

OF_A_RUN = {
    "erasure_utility": run_figures.erasure_utility,
    "class_flow": run_figures.class_flow,
    "feature_map": feature_map_figure.feature_map,
    "partition": partition_figure.partition,
    "profile": profile.figure,
}
OF_A_SWEEP = {"erasure_utility": sweep_figure.erasure_utility, "distance_cost": cost_figure.distance_cost}


def draw(run: Run, names: Collection[str] = tuple(OF_A_RUN)) -> list[Path]:
    """Write `figures/NAME.png` and `.svg` into the run's folder, from its summary and metrics; returns their paths.

    A figure that the run has nothing to show in is left out (class flow where no class was forgotten), and an older
    one of that name is removed.
    """
    written: list[Path] = []
    with style.styled():
        for name in names:
            written += style.replace(OF_A_RUN[name](run), run.folder / "figures", name)
    return written


def draw_sweep(rows: pd.DataFrame, declared: Declared, folder: Path) -> list[Path]:
    """Write `NAME.png` and `.svg` of a sweep's figures into `folder`, from `tables.tidy` and what its runs declare."""
    written: list[Path] = []
    with style.styled():
        for name, figure_of in OF_A_SWEEP.items():
            written += style.replace(figure_of(rows, declared), folder, name)
    return written
