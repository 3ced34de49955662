"""Verdicts on runs (`results.verdict`): as columns of a table, counted over seeds, and as a page says them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedunlearn.report.runs import Run, known

NONE = "no verdict"
WORDS = ("erased", "over-erased", "suppressed", "not erased", NONE)  # the order in which they are counted


def columns_of(run: Run) -> dict[str, Any]:
    """`verdict` (empty where there is none), and of every finding that it is made of the margin (docs/audits.md).

    `margin.F` is that of the unlearned model, `original_margin.F` that of the original one.
    """
    verdict = run.summary.verdict
    if verdict is None:
        return {"verdict": ""}
    margins, before = known(verdict.margins), known(verdict.original_margins)
    named = {f"margin.{name}": x for name, x in margins.items()}
    named |= {f"original_margin.{name}": x for name, x in before.items()}
    return {"verdict": verdict.word or "", **named}


def counted(group: pd.DataFrame) -> str:
    """The verdicts on runs of one method: `suppressed`, over several seeds `2 erased, 1 suppressed`; empty for none.

    A seed that occurs again, such as a run that was copied, counts once.
    """
    if "verdict" not in group:
        return ""
    each = group.drop_duplicates("seed")["verdict"].fillna("")
    if not each.any():
        return ""
    found = Counter(str(word or NONE) for word in each)
    if found.total() == 1:
        return next(iter(found))
    ordered = sorted(found, key=lambda word: WORDS.index(word) if word in WORDS else len(WORDS))
    return ", ".join(f"{found[word]} {word}" for word in ordered)


@dataclass(frozen=True)
class Said:
    """A verdict on a page: its word (empty where there is none), why, and how clear it is.

    `margins`: a finding's label and how far it is from the band's edge, None where the band has no width.
    """

    word: str
    reasons: tuple[str, ...]
    margins: list[tuple[str, float | None]]


def said_of(run: Run) -> Said | None:
    """None where nothing was judged. A failed gate is a warning, which says that there is no verdict."""
    verdict = run.summary.verdict
    if verdict is None or run.failed_gates():
        return None
    margins = [(run.finding(name).label, margin) for name, margin in verdict.margins.items()]
    return Said(verdict.word or "", verdict.reasons, margins)
