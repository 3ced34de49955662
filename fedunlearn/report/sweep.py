"""Everything that can be said of a folder of runs: a tidy CSV, tables, figures, a page, and which runs are missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fedunlearn.files import write_text
from fedunlearn.report import figures, formats, headlines, page, runs, tables
from fedunlearn.report.runs import Run
from fedunlearn.results.findings import Declared


@dataclass(frozen=True)
class Report:
    """What `build` found and wrote. `rows`: `tables.tidy` of all runs, folders relative to the report's own.

    `headlines`: what came of it, a sentence per setting; `declared`: the findings of all runs; `summary`: the table of
    methods.
    """

    headlines: tuple[str, ...]
    rows: pd.DataFrame
    declared: Declared
    summary: pd.DataFrame
    files: tuple[Path, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """A report without its page, which shows the figures of runs, too. `runs`: in all their formats."""

    folder: Path
    found: list[Run]
    runs: list[Run]
    report: Report


def build(folder: Path, titled: bool = True, again: bool = False) -> Report:
    """Write `runs.csv`, `table.md`, `table.tex`, the figures and `report.html` into `folder`, from the runs below it.

    Runs that failed, did not end or cannot be read are rows of `runs.csv` and are listed, with the reason, below the
    table and in `problems`; they never stop the rest. Figures are drawn if a run wants them, if older
    ones lie there, or if asked for (`again`). If `folder` is itself a run's, its page is that of the run.
    Raises RequestError if `folder` is not there or holds no run.
    """
    return finished(drafted(folder, titled, again))


def drafted(folder: Path, titled: bool = True, again: bool = False) -> Draft:
    """All that `build` writes but the page, for which figures of runs need not be there yet."""
    folder = folder.resolve()
    found = runs.find(folder)
    everything = runs.in_forms(found)
    rows = tables.frame_of(everything)
    rows["folder"] = [runs.relative(run, folder) for run in everything]
    declared = runs.declared(found)
    summary = tables.summary_table(rows, declared)
    said, shown = tuple(headlines.of_sweep(everything, rows)), tables.to_markdown(summary, declared)
    problems = tuple(
        f"{runs.relative(run, folder)} {run.status}: {run.reason}" for run in found if run.status != "done"
    )
    files = [
        write_text(folder / "runs.csv", rows.to_csv(index=False, lineterminator="\n")),
        write_text(folder / "table.md", formats.paragraphs(said) + shown + _listed(problems)),
        write_text(folder / "table.tex", tables.to_latex(summary, declared) + _commented(problems)),
    ]
    if again or any(folder.glob("*.svg")) or any(map(figures.are_wanted, found)):
        files += figures.draw_sweep(rows, declared, folder, titled and all(map(figures.has_titles, found)))
    return Draft(folder, found, everything, Report(said, rows, declared, summary, tuple(files), problems))


def finished(draft: Draft) -> Report:
    """With the page, once the figures of its runs are there."""
    folder, report = draft.folder, draft.report
    if is_run(draft.found, folder):
        own = page.write_run(draft.found[0])
    else:
        own = page.write_sweep(folder, draft.runs, report.rows, report.summary, report.declared)
    return replace(report, files=(*report.files, own))


def is_run(found: list[Run], folder: Path) -> bool:
    """Is the folder that of a single run, rather than one above several?"""
    return [run.folder for run in found] == [folder]


def draw_runs(folder: Path, again: bool = False, titled: bool = True) -> tuple[list[Path], list[str]]:
    """Draw the figures that finished runs below `folder` want and lack, or those of all `again`; write all their pages.

    Returns what was written, and a sentence for each run whose files do not fit together.
    """
    drawn: list[Path] = []
    undrawn: list[str] = []
    for run in (run for run in runs.find(folder) if run.status == "done"):
        try:
            if again or (figures.are_wanted(run) and not any((run.folder / "figures").glob("*.svg"))):
                drawn += figures.draw(run, titled=titled)
            drawn.append(page.write_run(run))
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
