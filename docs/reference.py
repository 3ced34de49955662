"""The table of findings in audits.md, made from what the audits declare. Run `make docs` to write it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedunlearn.audits.base import Audit
from fedunlearn.results.findings import Finding
from fedunlearn.settings import registry

PAGE = Path(__file__).with_name("audits.md")
BEGIN, END = "<!-- findings: written by `make docs`, not by hand -->\n", "<!-- end of findings -->\n"
HEADER = ("finding", "in tables and pages", "audit", "what it says", "range", "more is left where it is", "verdict")
SIDES = {
    "up": "higher",
    "down": "lower",
    "as retrained": "",
    "distance": "higher (distance)",
    "similarity": "lower (similarity)",
}


def table() -> str:
    """One row for each finding of each audit of ours, with its default settings; audits by name."""
    lines = [HEADER, ["---"] * len(HEADER), *rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rows() -> Iterator[list[str]]:
    """The cells of the table."""
    for name in registry.built_in("audit"):
        audit = registry.find(Audit, name)
        for finding in audit.declared(audit.settings()):
            yield [
                f"`{finding.name}`",
                _shown(finding),
                f"[`{name}`](#{name})",
                finding.meaning,
                finding.scale.replace("-", "−"),  # noqa: RUF001 (a minus sign)
                SIDES[finding.direction],
                "counts" if finding.counted else "",
            ]


def _shown(finding: Finding) -> str:
    """What it is called, bold if it is a column of tables."""
    if finding.stands_in_for:
        return f"{finding.label}; a column where there is no `{finding.stands_in_for}`"
    return f"**{finding.label}**" if finding.headline else finding.label


def updated(text: str) -> str:
    """The page with the table as it should be. Raises ValueError if it has no place for it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN!r} and {END!r}")
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
