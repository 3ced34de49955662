"""Verdicts on runs (`results.verdict`): as columns of a table, counted over seeds, and as a page says them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedunlearn.report.runs import Run, known
from fedunlearn.report.statistics import column
from fedunlearn.results.headline import SAID
from fedunlearn.results.verdict import Verdict

NONE = "no verdict"
WORDS = ("erased", "over-erased", "suppressed", "not erased", NONE)  # of verdicts
ORDER = (*SAID, NONE)  # in which these and the words of judgements are counted


def columns_of(run: Run) -> dict[str, Any]:
    """`verdict` (empty where there is none), and of every finding that it is made of the margin (docs/audits.md).

    `margin.F` is that of the unlearned model, `original_margin.F` that of the original one. `judgement`: what there is
    in place of a verdict where clients or samples were forgotten. `checks`: how many findings count, `checks.more` and
    `checks.less`: how many of them say that more is left, or less; not known where nothing is said.
    """
    found, verdict = said_in(run), run.summary.verdict
    row: dict[str, Any] = {"verdict": (verdict.word if verdict else "") or ""}
    if found is None:
        return row
    if found is not verdict:
        row["judgement"] = found.word or ""
    margins, before = known(found.margins), known(found.original_margins)
    row |= {f"margin.{name}": x for name, x in margins.items()}
    row |= {f"original_margin.{name}": x for name, x in before.items()}
    if found.word and found.counts:
        row |= {"checks": len(found.counts), "checks.more": len(found.above), "checks.less": len(found.below)}
    return row


def said_in(run: Run) -> Verdict | None:
    """The run's verdict; where clients or samples were forgotten, the judgement in its place."""
    return run.summary.judgement or run.summary.verdict


def counted(group: pd.DataFrame) -> str:
    """The verdicts on runs of one method: `suppressed`, over several seeds `2 erased, 1 suppressed`; empty for none.

    A seed that occurs again, such as a run that was copied, counts once.
    """
    seeds = group.drop_duplicates("seed")
    given = [seeds[kind].fillna("") for kind in ("verdict", "judgement") if kind in seeds]
    each = next((words for words in given if words.any()), None)
    if each is None:
        return ""
    found = Counter(str(word or NONE) for word in each)
    if found.total() == 1:
        return next(iter(found))
    ordered = sorted(found, key=lambda word: ORDER.index(word) if word in ORDER else len(ORDER))
    return ", ".join(f"{found[word]} {word}" for word in ordered)


def checked(group: pd.DataFrame) -> str:
    """`2 of 4: more left`, over all seeds of a method; empty where nothing is known."""
    seeds = group.drop_duplicates("seed")
    total, more, less = (int(column(seeds, name).sum()) for name in ("checks", "checks.more", "checks.less"))
    if not total:
        return ""
    parts = [f"{number} of {total}: {said}" for number, said in ((more, "more left"), (less, "less left")) if number]
    return ", ".join(parts) or f"{total} of {total}: as retrained"


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
    found = said_in(run)
    if found is None or run.failed_gates():
        return None
    margins = [(run.finding(name).label, margin) for name, margin in found.margins.items()]
    return Said(found.word or "", found.reasons, margins)
