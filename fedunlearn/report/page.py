"""report.html: one file that holds everything, needs no network, and can be read on a phone.

A sweep's page has its tables, figures and a section per run; a run's own page has that section and its figures.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedunlearn.files import write_text
from fedunlearn.report import formats, tables, verdict
from fedunlearn.report.page_facts import COSTS, Facts, facts
from fedunlearn.report.runs import Run, relative, sweep_command
from fedunlearn.results.findings import Declared, named

NAME = "report.html"
CAPTIONS = {
    "erasure_utility": "Erasure against utility",
    "distance_cost": "Distance to retraining against time",
    "class_flow": "Where the forgotten samples go",
    "partition": "Who holds what",
}


@dataclass(frozen=True)
class Listed:
    """A run in a sweep's page: its place, its verdict, per audit (value, gap), its facts, and its own page, if any."""

    anchor: str
    folder: str
    label: str
    seed: str
    setting: str
    verdict: str
    values: list[tuple[str, str]]
    facts: Facts
    page: str


def write_run(run: Run) -> Path:
    """The page of one run, in its folder: its facts, and the figures that it finds in `figures/`."""
    found = {path.stem: path for path in sorted((run.folder / "figures").glob("*.svg"))}
    names = [*(name for name in CAPTIONS if name in found), *(name for name in found if name not in CAPTIONS)]
    figures = [_figure(found[name]) for name in names]
    page = _templates().get_template("run_page.html.jinja")
    return write_text(run.folder / NAME, page.render(facts=safe_facts(run), figures=figures, costs=COSTS))


def write_sweep(
    folder: Path, found: Sequence[Run], rows: pd.DataFrame, summary: pd.DataFrame, declared: Declared
) -> Path:
    """The page of all runs below `folder`; the rest as `sweep.build` has it."""
    audits = tables.headline(rows[rows["status"] == "done"], declared)
    listed = [
        _listed(number, run, row, audits, folder)
        for number, (run, row) in enumerate(zip(found, rows.to_dict("records"), strict=True), start=1)
    ]
    page = _templates().get_template("sweep_page.html.jinja")
    content = page.render(
        name=folder.name,
        command=sweep_command(folder),
        counts={status: int((rows["status"] == status).sum()) for status in ("done", "failed", "missing")},
        header=formats.header_of(summary, declared),
        blocks=formats.blocks_of(summary),
        notes=formats.notes_of(summary) if len(summary) else [formats.NOTHING],
        figures=[_figure(path) for name in CAPTIONS if (path := folder / f"{name}.svg").is_file()],
        audits=[formats.capital(named(audit, declared).label) for audit in audits],
        runs=listed,
        judged=any(run.verdict not in ("", verdict.NONE) for run in listed),
        several=len({run.setting for run in listed if run.facts.status == "done"}) > 1,
        costs=COSTS,
    )
    return write_text(folder / NAME, content)


def safe_facts(run: Run, label: str = "") -> Facts:
    """`facts`; of a run whose files do not fit together, that they do not."""
    try:
        return facts(run, label)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return facts(Run(run.folder, "failed", f"its files do not fit together: {error!r}"), label)


def _listed(number: int, run: Run, row: Mapping[Hashable, Any], audits: Sequence[str], folder: Path) -> Listed:
    values = [(_fixed(row.get(f"unlearned.{audit}")), _signed(row.get(f"gap.{audit}"))) for audit in audits]
    seed = "" if pd.isna(row["seed"]) else str(row["seed"])
    label = str(row["label"] or run.folder.name)
    inside, page = run.folder.is_relative_to(folder), run.folder / NAME
    link = page.relative_to(folder).as_posix() if inside and run.folder != folder and page.is_file() else ""
    place, said = relative(run, folder), str(row["setting"])
    word = str(row["verdict"] or verdict.NONE) if run.status == "done" else ""
    return Listed(f"run-{number}", place, label, seed, said, word, values, safe_facts(run, label), link)


def _fixed(value: Any) -> str:
    return formats.UNKNOWN if value is None or pd.isna(value) else formats.fixed(value)


def _signed(value: Any) -> str:
    return "" if value is None or pd.isna(value) else formats.signed(value)


def _figure(path: Path) -> tuple[str, Markup]:
    """A caption, and the drawing as part of a page: without prolog and size, its names made this figure's own."""
    caption = CAPTIONS.get(path.stem, path.stem.replace("_", " ").capitalize())
    text = path.read_text(encoding="utf-8")
    drawing = text[text.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{path.stem}-", drawing)
    drawing = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", drawing, count=1)
    drawing = re.sub(r'<svg([^>]*?) height="[^"]*"', rf'<svg\1 role="img" aria-label="{caption}"', drawing, count=1)
    return caption, Markup(drawing)  # our own file, written by matplotlib


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("fedunlearn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["signed"] = lambda value: formats.UNKNOWN if value is None else formats.signed(value)
    return found
