"""What the numbers say to each question, in sentences that are made of them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from experiments.augmentation import page
from experiments.augmentation.page import CALLED, NONE, SIX, change, is_sure, of, others, over_seeds, shown
from experiments.augmentation.profiles import Separation, separation
from fedunlearn.report.formats import fixed, signed
from fedunlearn.report.statistics import Estimate

SURE = 0.05
READING = """\
Written by `python -m experiments.augmentation` from the numbers in [table.md](table.md), which says what was run and
what the words mean. *Rises*, *falls* and *differ* mean that the 95 % t-interval over starting states leaves out 0. With
three states such intervals are wide: where nothing differs, a small effect may still be there. And of many comparisons,
one in twenty does so by chance. Figures: [profiles](profiles.png), [what is left](forgetting.png),
[some maps](maps.png)."""
LEFT = {
    "unlearned.leak": "The AUSUC leak",
    "gap.gamma_recovered": "What one scalar brings back, beyond retrained models,",
}


def build(frame: pd.DataFrame, seen: pd.DataFrame) -> str:
    """The page, in Markdown."""
    said = [impact(seen), apart(seen), *(left(frame, key) for key in LEFT), quality(frame)]
    answers = "\n".join(f"- {each}" for each in said if each)
    return f"# Does augmentation change where models look, and what they can forget?\n\n{READING}\n\n{answers}\n"


def impact(seen: pd.DataFrame) -> str:
    """Which measures differ from what starting states alone do."""
    cells = {(name, measure): change(seen, name, measure) for name in others(seen) for measure in SIX}
    sure = [f"{name}: {CALLED[key]} ({shown(value, signed)})" for (name, key), value in cells.items() if is_sure(value)]
    return (
        "**Does augmentation change where models look?** Compared with models without augmentation from other starting "
        f"states, {len(sure)} of {len(cells)} numbers differ from those of models without augmentation{_listed(sure)}."
    )


def apart(seen: pd.DataFrame) -> str:
    """Between against within."""
    told = {"all six measures": SIX, "those of maps alone": SIX[:-1]}
    found = {name: separation(page.without(seen), measures) for name, measures in told.items()}
    said = [f"By {name}: {_separated(each)}." for name, each in found.items() if each]
    return f"**Can augmentations be told apart by their profiles?** {' '.join(said)}" if said else ""


def _separated(found: Separation) -> str:
    word = "yes" if found.p <= SURE else "not seen"
    return (
        f"{word}, {fixed(found.share)} of the variance inside of starting states lies between augmentations, by chance "
        f"{fixed(found.chance)} (p = {found.p:.4f}), and {found.found} of {found.models} models are nearest to their "
        f"own augmentation in other states, by chance {found.models / found.groups:.1f}"
    )


def left(frame: pd.DataFrame, key: str) -> str:
    """Does more of the class stay with augmentation?"""
    done = frame[frame["status"] == "done"]
    cells = {
        f"{method} with {name}": change(rows, name, key)
        for method, rows in done.groupby("method", sort=False)
        for name in others(rows)
    }
    sure = {name: value for name, value in cells.items() if is_sure(value)}
    more, less = (
        [f"{name} ({shown(value, signed)})" for name, value in sure.items() if sign * value.mean > 0]
        for sign in (1, -1)
    )
    return (
        f"**Is a class harder to forget?** {LEFT[key]} rises in {len(more)} of {len(cells)} cells (method, "
        f"augmentation){_listed(more)}, and falls in {len(less)}{_listed(less)}. {_means(cells)}"
    )


def _means(cells: dict[str, Estimate]) -> str:
    known = {name: value for name, value in cells.items() if pd.notna(value.mean)}
    if not known:
        return ""
    low, high = (choose(known, key=lambda name: known[name].mean) for choose in (min, max))
    return f"Mean changes go from {signed(known[low].mean)} ({low}) to {signed(known[high].mean)} ({high})."


def quality(frame: pd.DataFrame) -> str:
    """How good the models are, which says how far the above can be trusted."""
    done = frame[frame["status"] == "done"].drop_duplicates(["augment", "seed"])
    said = [f"{name} {shown(over_seeds(of(done, name), 'original.retain_accuracy'))}" for name in [NONE, *others(done)]]
    return f"**How good are the original models?** Accuracy on the classes that stay: {', '.join(said)}."


def _listed(found: Iterable[str]) -> str:
    words = list(found)
    return f": {'; '.join(words)}" if words else ""
