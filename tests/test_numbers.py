"""Numbers in README and docs can be looked up: in committed results, or by a command that is printed beside them."""

# ruff: noqa: RUF001 (minus signs are meant)

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
NUMBER = re.compile(r"(?<![\w./-])[+−-]?(\d[\d,]*\.\d+)(?![\w/]|\.\d)")
RESULTS = re.compile(r"results/(\w+)")
COMMAND = re.compile(  # or a few lines of Python that print
    r"(?:^(?:    |\$ )?|`)(?:fedunlearn |python (?:-m )?experiments|make )|^ *print\(", re.MULTILINE
)
OTHER = re.compile(  # code, addresses of links, names of papers and versions
    r"```.*?```|`[^`]*`|\]\([^)]*\)|arXiv\s+\d+\.\d+|(?:Python\s+|with |>=)\d+\.\d+", re.DOTALL
)
DERIVED = {  # by a calculation that the section describes
    "docs/audits.md": {
        "18.5",  # widths of bands, from Student's distribution
        "1.25",
        "0.00003",  # of float32 at 1000
    }
}


def numbers(text: str) -> set[str]:
    """The decimal numbers in a text, without their signs."""
    return {found.replace(",", "") for found in NUMBER.findall(OTHER.sub(" ", text))}


def sections(page: str) -> list[str]:
    """The text below each heading of a page."""
    return re.split(r"(?m)^#+ ", (ROOT / page).read_text())


def roundings(value: str) -> set[str]:
    """A number as it is when fewer of its decimals are shown."""
    decimals = len(value.partition(".")[2])
    return {value, *(f"{float(value):.{places}f}" for places in range(1, decimals))}


@cache
def committed(name: str) -> set[str]:
    """All numbers in the pages of `results/name`, in all roundings."""
    pages = [path.read_text() for path in (ROOT / "results" / name).rglob("*.md")]
    return {rounded for page in pages for value in numbers(page) for rounded in roundings(value)}


@cache
def printed() -> set[str]:
    """All numbers that stand beside the command which prints them."""
    return {value for page in PAGES for text in sections(page) if COMMAND.search(text) for value in numbers(text)}


def unknown(section: str) -> set[str]:
    """Numbers that are neither in the results that a section names (in any, if it names none) nor printed anywhere."""
    if COMMAND.search(section):
        return set()
    named = {name for name in RESULTS.findall(section) if (ROOT / "results" / name).is_dir()} or {"."}
    return numbers(section) - set().union(*map(committed, named)) - printed()


@pytest.mark.parametrize("page", PAGES)
def test_every_number_can_be_looked_up(page: str) -> None:
    found = {each for section in sections(page) for each in unknown(section)}
    assert found - DERIVED.get(page, set()) == set()


def test_a_number_that_is_nowhere_is_found() -> None:
    assert unknown("Title\n\nAccuracy was 0.98765, see results/digits.") == {"0.98765"}
    assert unknown("Title\n\n    fedunlearn method=fucrt\n\nAccuracy was 0.98765.") == set()
    assert numbers("`0.5` in [a](b/1.5.md) of arXiv\n2405.15474: −1,234.5") == {"1234.5"}
    assert roundings("0.985") == {"0.985", "0.98", "1.0"}
