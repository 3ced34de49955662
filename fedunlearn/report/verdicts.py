"""Verdicts on runs (`results.verdict`) as columns of a table: a word and margins per run, and words counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from fedunlearn.report.runs import Run

NONE = "no verdict"
WORDS = ("erased", "over-erased", "suppressed", "not erased", NONE)  # the order in which they are counted


def columns_of(run: Run) -> dict[str, Any]:
    """`verdict` (empty where there is none), and of every finding that it is made of the margin (docs/audits.md).

    `margin.F` is that of the unlearned model, `original_margin.F` that of the original one.
    """
    margins, before = (run.numbers("verdict", part) for part in ("margins", "original_margins"))
    named = {f"margin.{name}": x for name, x in margins.items()}
    named |= {f"original_margin.{name}": x for name, x in before.items()}
    return {"verdict": run.get("verdict", "word") or "", **named}


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
