"""How results look in a notebook: one sentence, the table, and where the rest is. All that is shown is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd


def of_run(verdict: str, reasons: Sequence[str], warnings: Sequence[str], table: pd.DataFrame, folder: Path) -> str:
    """The verdict, its reasons to unfold, and the table."""
    said = f"<p><b>{escape(verdict)}</b></p>"
    return said + _unfold("Why", reasons) + _listed(warnings) + _table(table) + _place(folder)


def of_sweep(done: int, failed: Sequence[str], table: pd.DataFrame | None, folder: Path) -> str:
    """How many runs there are, which failed, and the table of those that are done."""
    said = f"<p><b>{done} finished {'run' if done == 1 else 'runs'}</b></p>"
    return said + _listed(failed) + ("" if table is None else _table(table)) + _place(folder)


def _table(table: pd.DataFrame) -> str:
    whole: str = table.to_html(na_rep="", float_format=lambda value: f"{value:.3f}", escape=True, border=0)
    return whole


def _unfold(title: str, lines: Sequence[str]) -> str:
    return f"<details><summary>{escape(title)}</summary>{_listed(lines)}</details>" if lines else ""


def _listed(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _place(folder: Path) -> str:
    return f"<p><small>{escape(str(folder))}</small></p>"
