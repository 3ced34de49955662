"""What the numbers say to each question, in sentences that are made of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.language.page import (
    BACK,
    COMPARED,
    EXTRACTION,
    FORGET,
    FORMATS,
    LORA,
    PROBABILITY,
    RETAIN,
    SLOW,
    WHOLE,
    cells,
    compared,
    of_fictions,
    of_tofu,
    pairs,
)
from experiments.survival.page import RATIO, above_zero, at, over_seeds, paired, shown
from fedunlearn.report.formats import fixed, signed
from fedunlearn.report.statistics import Estimate, column
from fedunlearn.settings.config import FLOAT32

READING = """\
Written by `python -m experiments.language` from the numbers in [table.md](table.md), which says what was run and
what the words mean. *Rises* means that the 95 % t-interval over seeds is above 0. With three seeds such intervals
are wide, and with two (TOFU) more so: where nothing rises, a small effect may still be there. And of many
comparisons, one in forty rises by chance."""
LOW = FORMATS[2:]


def build(rows: pd.DataFrame) -> str:
    """The page, in Markdown. `rows`: `page.named`."""
    own = of_fictions(rows)
    said = [
        f"**What there is to forget.** {known(own)}",
        *(rounding(own, trained) for trained in (WHOLE, SLOW, LORA)),
        adapters(own),
    ]
    said += [kinds(own, *each) for each in COMPARED]
    for name, group in of_tofu(rows):
        said += [f"**{name}.** {known(group)}", *(rounding(group, trained, name) for trained in (WHOLE, LORA))]
    answers = "\n".join(f"- {each}" for each in said if each)
    return (
        f"# Does what a language model forgot come back?\n\n{READING}\n\n{answers}\n\n"
        "![What is left of the author in every format](formats.png)\n"
    )


def known(rows: pd.DataFrame) -> str:
    """What there is to forget, and to keep."""
    exact, four = at(rows, FLOAT32), at(rows, "int4")
    values = [
        shown(over_seeds(block, f"{model}.{name}"))
        for name in (FORGET, RETAIN)
        for model, block in (("original", exact), ("retrained", exact), ("original", four))
    ]
    return (
        f"Forget accuracy is {values[0]} of original models, {values[1]} of retrained "
        f"ones (original ones at int4: {values[2]}); retain accuracy is {values[3]} and {values[4]} (at int4: "
        f"{values[5]})."
    )


def rounding(rows: pd.DataFrame, trained: str, about: str = "") -> str:
    """Does it bring the author back? Of methods that did not take her away, nothing can come back.

    `about`: what is said first, where it is not about authors that do not exist.
    """
    head = f"**{about}. Trained: {trained}.**" if about else f"**Trained: {trained}.**"
    group = rows[(rows["trained"] == trained) & (rows["called"] != "retrain")]
    gone = [(names[0], cell) for names, cell in cells(group) if forgotten(cell)]
    if not len(group):
        return ""
    found = [(f"{name} at {format}", over_seeds(at(cell, format), BACK)) for name, cell in gone for format in LOW]
    steps = [over_seeds(at(cell, "int4"), RATIO).mean for _, cell in gone]
    total = group["called"].nunique()
    if not found:
        return f"{head} None of {total} methods forgets: nothing can come back."
    return (
        f"{head} {len(gone)} of {total} methods forget (median steps from {fixed(min(steps))} to "
        f"{fixed(max(steps))} half steps of int4). In four bits, forget accuracy rises in {_rising(found)}; the "
        f"largest mean change is {_largest(found)}."
    )


def forgotten(cell: pd.DataFrame) -> bool:
    """Is the forget accuracy nearer to that of retrained models, or below it?"""
    exact = at(cell, FLOAT32)
    own, original, retrained = (
        column(exact, f"{model}.{FORGET}").mean() for model in ("unlearned", "original", "retrained")
    )
    return bool(own < (original + retrained) / 2)


def _rising(found: Sequence[tuple[str, Estimate]]) -> str:
    names = [f"{name} ({shown(value, signed)})" for name, value in found if above_zero(value)]
    return f"{len(names)} of {len(found)} cells" + (f": {', '.join(names)}" if names else "")


def _largest(found: Sequence[tuple[str, Estimate]]) -> str:
    name, value = max(found, key=lambda each: each[1].mean)
    return f"{shown(value, signed)}, {name}"


def adapters(rows: pd.DataFrame) -> str:
    """Do they protect, and what do they cost?"""
    found = [
        (f"{called}, {other}, {format}", paired(at(low, format), at(whole, format), BACK))
        for called, other, low, whole in pairs(rows)
        if forgotten(low) and forgotten(whole)
        for format in LOW
    ]
    if not found:
        return ""
    falls = sum(pd.notna(value.half) and value.mean + value.half < 0 for _, value in found)
    means = [value.mean for _, value in found]
    return (
        f"**Do adapters protect?** What comes back by adapters minus by whole weights, where both forget: above 0 in "
        f"{_rising(found)}, below 0 in {falls} (means from {signed(min(means))} to {signed(max(means))})."
    )


MEASURED = {FORGET: "forget accuracy", RETAIN: "retain accuracy", PROBABILITY: "answer probability"}
MEASURED |= {EXTRACTION: "extraction strength"}


def kinds(rows: pd.DataFrame, kind: str, against: str) -> str:
    """Does it matter to what is left whether adapters are of one kind or of another?"""
    found = [(called, one, other) for called, kinds, one, other in compared(rows) if kinds == (kind, against)]
    if not found:
        return ""
    _, one, other = found[-1]  # all methods together
    values = {name: paired(at(one, FLOAT32), at(other, FLOAT32), f"unlearned.{name}") for name in MEASURED}
    apart = [MEASURED[name] for name, value in values.items() if pd.notna(value.half) and abs(value.mean) > value.half]
    said = ", ".join(f"{MEASURED[name]} {shown(value, signed)}" for name, value in values.items())
    return (
        f"**{kind}, minus {against}**, over {one['called'].nunique()} methods: {said}. "
        f"Told apart by seeds: {', '.join(apart) if apart else 'none of these'}."
    )
