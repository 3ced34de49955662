"""Draw the figures of a run and of a sweep into files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fedunlearn.report import feature_map_figure, partition_figure, profile, run_figures, style, sweep_figure
from fedunlearn.report.runs import Run, read

OF_A_RUN = {
    "erasure_utility": run_figures.erasure_utility,
    "class_flow": run_figures.class_flow,
    "partition": partition_figure.partition,
    "feature_map": feature_map_figure.feature_map,
    "profile": profile.figure,
}


def draw_run(folder: Path) -> list[Path]:
    """`draw` for the run in `folder`."""
    return draw(read(folder))


def draw(run: Run) -> list[Path]:
    """Write `figures/NAME.png` and `.svg` into the run's folder, from its summary and metrics; returns their paths.

    A figure that the run has nothing to show in is left out (class flow where no class was forgotten), and an older
    one of that name is removed.
    """
    written: list[Path] = []
    with style.styled():
        for name, figure_of in OF_A_RUN.items():
            written += style.replace(figure_of(run), run.folder / "figures", name)
    return written


def draw_sweep(rows: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `erasure_utility.png` and `.svg` into `folder`, from the rows of `tables.tidy`; returns their paths."""
    with style.styled():
        return style.replace(sweep_figure.erasure_utility(rows), folder, "erasure_utility")
