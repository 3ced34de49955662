"""report.html: one file that holds everything, needs no network, and can be read on a phone.

A sweep's page has its tables, figures and a section per run; a run's own page has that section and its figures. Runs
may be anybody's: what comes from their files is shown as text or as an image, and no script runs but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedunlearn.files import write_text
from fedunlearn.report import formats, headlines, style, tables, verdict
from fedunlearn.report.page_facts import COSTS, Facts, facts
from fedunlearn.report.runs import Run, relative, sweep_command
from fedunlearn.results.findings import Declared, named

NAME = "report.html"
CAPTIONS = {
    "examples": "What the models say of forgotten samples",
    "erasure_utility": "Erasure against utility",
    "survival": "What is left after rounding",
    "swept": "Erasure and utility against what was varied",
    "distance_cost": "Distance to retraining against time",
    "class_flow": "Where the forgotten samples go",
    "confusion": "What is taken for what",
    "attention": "Where the models look",
    "partition": "Who holds what",
    "clients": "What each client is left with",
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
    figures = _figures(found[name] for name in names)
    return write_text(
        run.folder / NAME, _render("run_page.html.jinja", facts=safe_facts(run), figures=figures, costs=COSTS)
    )


def write_sweep(
    folder: Path, found: Sequence[Run], rows: pd.DataFrame, summary: pd.DataFrame, declared: Declared
) -> Path:
    """The page of all runs below `folder` (in all their formats); the rest as `sweep.build` has it."""
    audits = tables.headline(rows[rows["status"] == "done"], declared)
    whole = tables.as_unlearned(rows)
    pairs = zip((run for run in found if run.as_unlearned), whole.to_dict("records"), strict=True)
    listed = [_listed(number, run, row, audits, folder) for number, (run, row) in enumerate(pairs, start=1)]
    content = _render(
        "sweep_page.html.jinja",
        name=folder.name,
        headlines=headlines.of_sweep(found, rows),
        command=sweep_command(folder),
        counts={status: int((whole["status"] == status).sum()) for status in ("done", "failed", "missing")},
        header=formats.header_of(summary, declared),
        blocks=formats.blocks_of(summary),
        notes=formats.notes_of(summary) if len(summary) else [formats.NOTHING],
        figures=_figures(folder / f"{name}.svg" for name in CAPTIONS),
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
    link = (
        f"./{quote(page.relative_to(folder).as_posix())}" if inside and run.folder != folder and page.is_file() else ""
    )
    place, said = relative(run, folder), str(row["setting"])
    word = str(row["verdict"] or verdict.NONE) if run.status == "done" else ""
    return Listed(f"run-{number}", place, label, seed, said, word, values, safe_facts(run, label), link)


def _fixed(value: Any) -> str:
    return formats.UNKNOWN if value is None or pd.isna(value) else formats.fixed(value)


def _signed(value: Any) -> str:
    return "" if value is None or pd.isna(value) else formats.signed(value)


@dataclass(frozen=True)
class Shown:
    """A figure on a page: addresses of data that a page shows as an image, in which no script can run.

    `narrow`: the same for a phone; empty where there is none.
    """

    name: str
    caption: str
    address: str
    narrow: str


def _figures(paths: Iterable[Path]) -> list[Shown]:
    """The figures that are there. Links are left out, since they may lead to what is not to be shown."""
    return [_shown(path) for path in paths if _is_own(path)]


def _shown(path: Path) -> Shown:
    narrow = path.parent / style.NARROW / path.name
    caption = CAPTIONS.get(path.stem, path.stem.replace("_", " ").capitalize())
    return Shown(path.stem, caption, _address(path), _address(narrow) if _is_own(narrow) else "")


def _is_own(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def _address(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _render(template: str, **content: Any) -> str:
    return _templates().get_template(template).render(**content)


@cache
def _templates() -> Environment:
    """The templates; whatever they are given is text. Style and script are ours, and the page allows no others."""
    found = Environment(
        loader=PackageLoader("fedunlearn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["signed"] = lambda value: formats.UNKNOWN if value is None else formats.signed(value)
    own = resources.files("fedunlearn.report") / "templates"
    looks = (own / "style.css").read_text(encoding="utf-8") + _shades()
    script = (own / "script.js").read_text(encoding="utf-8")
    found.globals |= {"style": Markup(looks), "script": Markup(script), "policy": policy(looks, script)}
    return found


def _shades() -> str:
    """The background of cells that show a share, in steps of a twentieth; none may have a style of its own."""
    return "".join(
        f".flow td.share-{n} {{ background: rgb(0 114 178 / {n / 20 * 0.95:.3f}); }}\n" for n in range(1, 21)
    )


def policy(style: str, *scripts: str) -> str:
    """The content security policy of a page with one style and these scripts: nothing else runs, nothing is loaded."""
    allowed = " ".join(map(_hashed, scripts))
    return (
        f"default-src 'none'; img-src data:; style-src {_hashed(style)}; script-src {allowed}; base-uri 'none'; "
        "form-action 'none'"
    )


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
