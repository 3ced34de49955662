"""The tables: models, profiles, what tells these apart, and how hard a class is to forget.

Intervals are 95 % t-intervals of the mean over starting states (seeds).
"""

# ruff: noqa: RUF001 (Greek letters and minus signs are meant)

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from experiments.augmentation.looks import KL, NONE
from experiments.augmentation.profiles import DRAWS, Separation, separation
from experiments.sweeps import markdown
from fedunlearn.report.formats import UNKNOWN, fixed, signed
from fedunlearn.report.statistics import Estimate, column, estimate

SIX = ("absolute_difference", "squared_difference", "pearson", "spearman", "overlap_15", KL)  # as in the paper
CALLED = {
    "absolute_difference": "mean absolute difference",
    "squared_difference": "mean squared difference",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "overlap_15": "overlap of the top 15 %",
    KL: "KL of classes",
}
SCORES = ("accuracy", "precision", "recall", "f1")
FINDINGS = {  # of unlearned models
    "unlearned.forget_accuracy": "forget accuracy",
    "unlearned.retain_accuracy": "retain accuracy",
    "gap.retain_accuracy": "retain accuracy − retrained",
    "gap.gamma_recovered": "back by γ − retrained",
    "noise.gamma_recovered": "its noise floor",
    "unlearned.leak": "AUSUC leak",
}
LEFT = ("unlearned.leak", "gap.gamma_recovered")  # of the class: what forget accuracy does not show
READING = """\
Four clients, IID, a small CNN, 2,000 images of CIFAR-10 for training and 400 for testing, 8 rounds of training and 2 of
unlearning, of two local epochs each, class 9, two retrained models, starting states (seeds) 0 to 2; with `--quick`,
digits and less of all. Every stage of a run augments alike, at the default strength (docs/augment.md). Numbers are
means over starting states with half their 95 % t-interval, which is wide for three. A *change* is the difference to no
augmentation from the same starting state."""
MAPS = """\
Maps of evidence (Grad-CAM) for the true class of each test image, compared with those of the models without
augmentation from the other starting states. The first line is what starting states alone do: an augmentation does
something if its numbers differ from these."""
FORGETTING = """\
AUSUC leak: 0 as retrained, 1 as the original. *Back by γ*: the forget accuracy that one number added to the forgotten
logit brings back; above 0 where more comes back than in retrained models (docs/audits.md), of which two give only a
hint of the noise floor. Accuracies are of test images."""


def build(frame: pd.DataFrame, seen: pd.DataFrame) -> str:
    """All tables, in Markdown. `frame`: the runs; `seen`: `looks.table`."""
    sections = [
        ("The models before unlearning", models(seen)),
        ("Impact profiles", f"{MAPS}\n\n{impact(seen)}\n\n{told_apart(seen)}"),
        ("How hard is the class to forget?", f"{FORGETTING}\n\n{forgetting(frame)}"),
    ]
    return "\n\n".join(["## How to read this", READING, *(f"## {title}\n\n{body}" for title, body in sections)])


def shown(value: Estimate, show: Callable[[float], str] = fixed) -> str:
    """`0.12 ± 0.03`, the mean and half its interval; without interval of one seed."""
    if pd.isna(value.mean):
        return UNKNOWN
    return show(value.mean) + (f" ± {fixed(value.half)}" if pd.notna(value.half) else "")


def over_seeds(rows: pd.DataFrame, name: str) -> Estimate:
    """Of a column, one value for each seed."""
    return estimate(column(rows, name), rows["seed"])


def change(rows: pd.DataFrame, augment: str, name: str) -> Estimate:
    """Of a column from no augmentation to this one, by seed."""
    by_seed = [column(part, name).groupby(part["seed"]).mean() for part in (of(rows, augment), of(rows, NONE))]
    difference = (by_seed[0] - by_seed[1]).dropna()
    return estimate(difference, pd.Series(difference.index, difference.index))


def is_sure(value: Estimate) -> bool:
    """Does its interval leave out 0?"""
    return bool(pd.notna(value.half) and abs(value.mean) > value.half)


def of(rows: pd.DataFrame, augment: str) -> pd.DataFrame:
    """The rows of one augmentation."""
    return rows[rows["augment"] == augment]


def names(rows: pd.DataFrame) -> list[str]:
    """The augmentations, in their order."""
    return list(dict.fromkeys(rows["augment"]))


def others(rows: pd.DataFrame) -> list[str]:
    """Without none."""
    return [name for name in names(rows) if name != NONE]


def models(seen: pd.DataFrame) -> str:
    """A line for each augmentation: how good its models are."""
    lines = [[name, *(shown(over_seeds(of(seen, name), score)) for score in (*SCORES, "flat"))] for name in names(seen)]
    return markdown(["augmentation", *SCORES, "flat maps"], lines)


def impact(seen: pd.DataFrame) -> str:
    """A line for each augmentation: its profile; bold where it differs from starting states alone."""
    lines = []
    for name in names(seen):
        cells = [shown(over_seeds(of(seen, name), measure)) for measure in SIX]
        marked = [name != NONE and is_sure(change(seen, name, measure)) for measure in SIX]
        lines.append([name, *(f"**{cell}**" if bold else cell for cell, bold in zip(cells, marked, strict=True))])
    return markdown(["augmentation", *(CALLED[measure] for measure in SIX)], lines) + (
        "\n\nBold: the 95 % t-interval of the change from no augmentation leaves out 0."
    )


def told_apart(seen: pd.DataFrame) -> str:
    """A line for each group of measures: all six, those of maps alone, and what models answer alone."""
    groups: dict[str, Sequence[str]] = {"all six": SIX, "maps alone": SIX[:-1], "answers alone (KL)": SIX[-1:]}
    lines = [[name, *_separated(separation(without(seen), measures))] for name, measures in groups.items()]
    about = (
        "Can augmentations be told apart by their profiles? *Between*: the share of the variance inside of starting "
        f"states that lies between augmentations; *p*: how often {DRAWS:,} exchanges of labels inside of states give "
        "as much; *recognised*: models whose profile is nearest to that of their own augmentation in the other states."
    )
    header = ["measures", "between", "by chance", "p", "recognised", "by chance"]
    return f"{about}\n\n" + markdown(header, lines)


def without(seen: pd.DataFrame) -> pd.DataFrame:
    """The models of augmentations."""
    return seen[seen["augment"] != NONE]


def _separated(found: Separation | None) -> list[str]:
    if found is None:
        return [UNKNOWN] * 5
    recognised = [f"{found.found} of {found.models}", f"{found.models / found.groups:.1f}"]
    return [fixed(found.share), fixed(found.chance), f"{found.p:.4f}", *recognised]


def forgetting(frame: pd.DataFrame) -> str:
    """A line for each method and augmentation: findings, and the changes of what is left."""
    done = frame[frame["status"] == "done"]
    header = ["method", "augmentation", "original forget accuracy", *FINDINGS.values()]
    header += [f"change in {FINDINGS[key]}" for key in LEFT]
    lines = []
    for method, rows in done.groupby("method", sort=False):
        for name in names(rows):
            own = of(rows, name)
            line = [str(method), name, shown(over_seeds(own, "original.forget_accuracy"))]
            line += [shown(over_seeds(own, key), signed if key.startswith("gap.") else fixed) for key in FINDINGS]
            changes = [change(rows, name, key) for key in LEFT]
            line += [UNKNOWN if name == NONE else shown(each, signed) for each in changes]
            lines.append(line)
    return markdown(header, lines)
