"""Everything that can be said of a folder of runs: a tidy CSV, a table, a figure, and which runs are not in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fedunlearn.report import figures, runs, tables
from fedunlearn.report.files import write_text


@dataclass(frozen=True)
class Report:
    """What `build` found and wrote. `rows`: `tables.tidy` of all runs, folders relative to the report's own."""

    rows: pd.DataFrame
    summary: pd.DataFrame
    files: tuple[Path, ...]
    problems: tuple[str, ...]


def build(folder: Path) -> Report:
    """Write `runs.csv`, `table.md`, `table.tex` and `erasure_utility.{png,svg}` into `folder`, from the runs below it.

    Runs that failed, did not end or cannot be read are rows of `runs.csv` and are listed, with the reason, below the
    table and in `problems`; they never stop the rest. Raises
    RequestError if `folder` is not there or holds no run.
    """
    folder = folder.resolve()
    found = runs.find(folder)
    rows = tables.frame_of(found)
    rows["folder"] = [runs.relative(run, folder) for run in found]
    summary = tables.summary_table(rows)
    problems = tuple(
        f"{runs.relative(run, folder)} {run.status}: {run.reason}" for run in found if run.status != "done"
    )
    files = [
        write_text(folder / "runs.csv", rows.to_csv(index=False, lineterminator="\n")),
        write_text(folder / "table.md", tables.to_markdown(summary) + _listed(problems)),
        write_text(folder / "table.tex", tables.to_latex(summary) + _commented(problems)),
        *figures.draw_sweep(rows, folder),
    ]
    return Report(rows, summary, tuple(files), problems)


def draw_runs(folder: Path) -> tuple[list[Path], list[str]]:
    """Redraw the figures of every finished run below `folder`; a sentence for each whose files do not fit together."""
    drawn: list[Path] = []
    undrawn: list[str] = []
    for run in (run for run in runs.find(folder) if run.status == "done"):
        try:
            drawn += figures.draw_run(run.folder)
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            undrawn.append(f"the figures of {runs.relative(run, folder)} cannot be drawn: {error!r}")
    return drawn, undrawn


def _listed(problems: tuple[str, ...]) -> str:
    return (
        "".join(["\nNot in the table:\n\n", *(f"- {line}\n" for line in map(_one_line, problems))]) if problems else ""
    )


def _commented(problems: tuple[str, ...]) -> str:
    return "".join(f"% Not in the table: {line}\n" for line in map(_one_line, problems))


def _one_line(text: str) -> str:
    return " ".join(text.split())
