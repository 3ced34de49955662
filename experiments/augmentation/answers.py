"""What the numbers say to each question, in sentences that are made of them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from experiments.augmentation import page
from experiments.augmentation.page import CALLED, SIX, change, is_sure, names, of, others, over_seeds, shown
from experiments.augmentation.profiles import Separation, separation
from fedunlearn.report.formats import fixed, signed

SURE = 0.05
READING = """\
Written by `python -m experiments.augmentation` from the numbers in [table.md](table.md), which says what was run and
what the words mean. *Differ* means that the 95 % t-interval over starting states leaves out 0. With three states such
intervals are wide: where nothing differs, a small effect may still be there. And of many comparisons, one in twenty
does so by chance. Figures: [profiles](profiles.png), [some maps](maps.png)."""


def build(seen: pd.DataFrame) -> str:
    """The page, in Markdown. `seen`: `looks.compared`."""
    said = "\n".join(f"- {each}" for each in (impact(seen), apart(seen), quality(seen)) if each)
    return f"# Does augmentation change where models look?\n\n{READING}\n\n{said}\n"


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


def quality(seen: pd.DataFrame) -> str:
    """How good the models are, which says how far the above can be trusted."""
    said = [f"{name} {shown(over_seeds(of(seen, name), 'accuracy'))}" for name in names(seen)]
    return f"**How good are the models?** Accuracy: {', '.join(said)}."


def _listed(found: Iterable[str]) -> str:
    words = list(found)
    return f": {'; '.join(words)}" if words else ""
