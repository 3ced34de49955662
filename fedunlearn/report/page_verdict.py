"""What a page says of the verdict on a run (`fedunlearn.results.verdict`): its word, why, and how clear it is."""

from __future__ import annotations

from dataclasses import dataclass

from fedunlearn.report import words
from fedunlearn.report.formats import UNKNOWN, signed
from fedunlearn.report.runs import Run


@dataclass(frozen=True)
class Verdict:
    """`word` is empty where there is none; `margins`: a finding's name and how far it is from the band's edge."""

    word: str
    reasons: list[str]
    margins: list[tuple[str, str]]


def verdict_of(run: Run) -> Verdict | None:
    """None where nothing was judged. A failed gate is a warning, which says that there is no verdict."""
    given = run.get("verdict")
    if not isinstance(given, dict) or run.failed_gates():
        return None
    margins = run.get("verdict", "margins") or {}
    return Verdict(
        word=given.get("word") or "",
        reasons=[str(reason) for reason in given.get("reasons") or ()],
        margins=[(words.label(name), UNKNOWN if x is None else signed(x)) for name, x in margins.items()],
    )
