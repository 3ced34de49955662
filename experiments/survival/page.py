"""The tables, one or two for each question.

Intervals are 95 % t-intervals of the mean over seeds. With three seeds they are wide, and a difference counts only if
its interval does not hold 0.
"""

# ruff: noqa: RUF001 (Greek letters and minus signs are meant)

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from experiments.sweeps import markdown
from fedunlearn.report.formats import UNKNOWN, fixed, signed
from fedunlearn.report.statistics import Estimate, column, estimate
from fedunlearn.settings.config import FLOAT32

FORMATS = ("int8", "int4", "int3")
CELL = ["dataset", "method", "way", "rate"]
FORGET, WORST = "forget_accuracy", "worst_class"
BACK = f"survival.reversion.{FORGET}"
SCALAR = "survival.reversion.gamma_recovered"
RATIO = "survival.step_ratio_50"
ALIKE = "int4 weights, classes alike"
BINS = (0.0, 0.03, 0.1, 0.3, 1.0, np.inf)  # median update, in half steps
READING = """\
Ten clients, Dirichlet α = 0.3, class 9, a small CNN, 2,000 images, 15 rounds of training and 3 of unlearning, two
retrained models, seeds 0 to 2 (with `--quick`: digits, one seed, less of everything). Numbers are means over seeds
with half their 95 % t-interval. *Back*: rounded minus float32, above 0 where more of the class is there. *By one
scalar*: the accuracy on the class that one number added to its logit brings back (`gamma_recovered`, docs/audits.md).
*Median step*: median over the weights of their change by unlearning, in half steps of the format. *Worst class*:
lowest accuracy on a retained class. *Rank*: unlearnt by adapters of that rank. *Rate*: `unlearn.lr`, if not the
default.

Audited are accuracy and AUSUC. There are no verdicts: these need prototype relearning and relearning
as well, and eight retrained models for a firm band. So models are held against each other, not against a band."""


def build(frame: pd.DataFrame, controls: pd.DataFrame) -> str:
    """All tables, in Markdown. `frame`, `controls`: `forms.table` of the runs and of the planted updates."""
    rows = plain(frame)
    sections = [
        ("Does rounding bring the class back?", reversion(rows)),
        ("Of which updates?", by_size(rows)),
        ("Planted updates", control(controls)),
        ("Do adapters protect?", adapters(rows)),
        ("What calibration does", calibration(frame)),
        ("Training for int4", trained(frame)),
    ]
    return "\n\n".join(["## How to read this", READING, *(f"## {title}\n\n{body}" for title, body in sections if body)])


# Rows -------------------------------------------------------------------------------------------------------------


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The models as unlearning leaves them, of the runs that ask for nothing but calibration afterwards."""
    return frame[(frame["repair"] == "") & frame["given_repair"].isin(["none", "average_logit_gap"])]


def at(rows: pd.DataFrame, format: str) -> pd.DataFrame:
    return rows[rows["format"] == format]


def over_seeds(rows: pd.DataFrame, name: str) -> Estimate:
    """Of a column, one value per seed."""
    return estimate(column(rows, name), rows["seed"])


def paired(one: pd.DataFrame, other: pd.DataFrame, name: str) -> Estimate:
    """`one` minus `other` by seed."""
    by_seed = [column(rows, name).groupby(rows["seed"]).mean() for rows in (one, other)]
    difference = (by_seed[0] - by_seed[1]).dropna()
    return estimate(difference, pd.Series(difference.index, difference.index))


def shown(value: Estimate, show: Callable[[float], str] = fixed) -> str:
    """`0.12 ± 0.03`, the mean and half its interval; without interval of one seed."""
    if pd.isna(value.mean):
        return UNKNOWN
    return show(value.mean) + (f" ± {fixed(value.half)}" if pd.notna(value.half) else "")


def above_zero(value: Estimate) -> bool:
    """Is the whole interval above 0? Of one seed there is none, and nothing counts."""
    return bool(pd.notna(value.half) and value.mean - value.half > 0)


# Tables -----------------------------------------------------------------------------------------------------------


def reversion(rows: pd.DataFrame) -> str:
    """A line for each method and adapter."""
    header = ["dataset", "method", "trained", "retain accuracy", "forget accuracy"]
    header += [f"forget accuracy back at {format}" for format in FORMATS]
    header += [f"by one scalar, back at {format}" for format in FORMATS[1:]]
    header += [f"median step at {format}" for format in FORMATS]
    lines = []
    for names, group in rows.groupby(CELL, sort=False):
        exact = at(group, FLOAT32)
        line = [
            *named(names),
            *(shown(over_seeds(exact, f"unlearned.{name}")) for name in ("retain_accuracy", FORGET)),
        ]
        line += [shown(over_seeds(at(group, format), BACK), signed) for format in FORMATS]
        line += [shown(over_seeds(at(group, format), SCALAR), signed) for format in FORMATS[1:]]
        line += [shown(over_seeds(at(group, format), RATIO)) for format in FORMATS]
        lines.append(line)
    return markdown(header, lines) + "\n\n" + references(rows)


def references(rows: pd.DataFrame) -> str:
    """Original and retrained models in every format."""
    formats = [FLOAT32, *(format for format in FORMATS if (rows["format"] == format).any())]
    header = ["dataset", "model", *(f"{name} at {format}" for name in ("retain", "forget") for format in formats)]
    lines = []
    for dataset, group in rows.groupby("dataset", sort=False):
        for model in ("original", "retrained"):
            names = (f"{model}.{name}_accuracy" for name in ("retain", "forget"))
            values = [shown(over_seeds(at(group, format), name)) for name in names for format in formats]
            lines.append([str(dataset), model, *values])
    return markdown(header, lines)


def by_size(rows: pd.DataFrame) -> str:
    """All runs in all formats together, by the median step."""
    header = [
        "median step",
        "models",
        "of them at",
        "forget accuracy back",
        "largest",
        "by one scalar, back",
        "flipped",
    ]
    some = rows[column(rows, RATIO).notna()]
    bins = pd.cut(column(some, RATIO), BINS, include_lowest=True)
    lines = []
    for interval, group in some.groupby(bins, observed=True):
        values = (over_seeds(group, name) for name in (BACK, SCALAR, "survival.flipped"))
        back, scalar, flipped = values
        formats = ", ".join(format for format in FORMATS if (group["format"] == format).any())
        most = signed(column(group, BACK).max())
        line = [_range(interval), str(len(group)), formats, shown(back, signed), most, shown(scalar, signed)]
        lines.append([*line, shown(flipped)])
    return markdown(header, lines)


def control(controls: pd.DataFrame) -> str:
    """Planted updates of every size."""
    header = ["start", "largest step", "forget accuracy", *(f"at {format}" for format in FORMATS)]
    header += ["of the way back at int4", "flipped at int4", "retain accuracy"]
    lines = []
    for (start, size), group in controls.groupby(["start", "size"], sort=False):
        exact, low = at(group, FLOAT32), at(group, "int4")
        line = [str(start), f"{size:g} half steps of int4", shown(over_seeds(exact, f"unlearned.{FORGET}"))]
        line += [shown(over_seeds(at(group, format), f"unlearned.{FORGET}")) for format in FORMATS]
        line += [shown(over_seeds(low, name)) for name in (f"survival.way_back.{FORGET}", "survival.flipped")]
        lines.append([*line, shown(over_seeds(exact, "unlearned.retain_accuracy"))])
    about = """\
What every weight may be moved by to forget, from weights on the grid of int4 and from the original ones. (`flipped`
counts from the original model, whose codes are those of its weights on the grid.)"""
    return f"{about}\n\n{markdown(header, lines)}"


def adapters(rows: pd.DataFrame) -> str:
    """Adapters minus whole weights, by seed."""
    header = ["dataset", "method", "adapter", "retain accuracy", "forget accuracy"]
    header += [f"forget accuracy back at {format}" for format in FORMATS[1:]]
    header += [f"by one scalar, back at {format}" for format in FORMATS[1:]]
    header += ["median step at int4", "flipped at int4"]
    lines = []
    for (dataset, method, rank), low, whole in pairs(rows):
        wanted = [(f"unlearned.{name}", FLOAT32) for name in ("retain_accuracy", FORGET)]
        wanted += [(name, format) for name in (BACK, SCALAR) for format in FORMATS[1:]]
        wanted += [(RATIO, "int4"), ("survival.flipped", "int4")]
        values = [paired(at(low, format), at(whole, format), name) for name, format in wanted]
        lines.append([dataset, method, rank, *(shown(each, signed) for each in values)])
    return "Adapters minus whole weights:\n\n" + markdown(header, lines) if lines else ""


def calibration(frame: pd.DataFrame) -> str:
    """The calibrated models minus the same without it, for unlearned, original and retrained ones."""
    names = ("retain_accuracy", WORST, FORGET, "leak", "gamma_recovered")
    header = ["dataset", "model", "trained", "retain accuracy", "worst class", "forget accuracy", "leak", "one scalar"]
    lines = []
    for dataset, block in calibrated(frame).groupby("dataset", sort=False):
        groups: list[tuple[tuple[str, ...], str, pd.DataFrame]] = [
            ((model, ""), model, block) for model in ("original", "retrained")
        ]
        groups += [(tuple(named(key)[1:]), "unlearned", group) for key, group in block.groupby(CELL, sort=False)]
        for key, model, group in groups:
            after, before = group[group["repair"] != ""], group[group["repair"] == ""]
            values = [shown(paired(after, before, f"{model}.{name}"), signed) for name in names]
            lines.append([str(dataset), *key, *values])
    return "Calibrated minus as it was (`repair=average_logit_gap`), in float32:\n\n" + markdown(header, lines)


def calibrated(frame: pd.DataFrame) -> pd.DataFrame:
    """The float32 rows of runs with calibration, before and after it."""
    return frame[(frame["given_repair"] == "average_logit_gap") & (frame["format"] == FLOAT32)]


def trained(frame: pd.DataFrame) -> str:
    """FUCRT's models after each repair, in int4."""
    header = ["dataset", "repair", "model", "worst class", "retain accuracy", "forget accuracy", "one scalar"]
    lines = []
    for (dataset, name), group in after_fucrt(frame).groupby(["dataset", "after"], sort=False):
        for model in ("unlearned", "original", "retrained"):
            values = (WORST, "retain_accuracy", FORGET, "gamma_recovered")
            line = [shown(over_seeds(group, f"{model}.{value}")) for value in values]
            lines.append([str(dataset), str(name), model, *line])
    return "FUCRT on whole weights, rounded to int4 after each repair:\n\n" + markdown(header, lines)


def after_fucrt(frame: pd.DataFrame) -> pd.DataFrame:
    """The int4 rows of FUCRT, whole, by `after`: the repair with its weighting, or none."""
    own = frame[(frame["method"] == "fucrt") & (frame["way"] == "whole") & (frame["format"] == "int4")]
    own = own[own["rate"] == "default"]
    mended = own[(own["repair"] != "") | (own["given_repair"] == "average_logit_gap")]
    first = mended["repair"].where(mended["repair"] != "", "none")
    plainer = (mended["repair"] == "climbq") & (mended["weighting"] == "none")
    kept = mended.assign(after=first.where(~plainer, ALIKE))
    return kept[kept["dataset"].isin(kept.loc[kept["after"] == "climbq", "dataset"])]


def pairs(rows: pd.DataFrame) -> list[tuple[tuple[str, str, str], pd.DataFrame, pd.DataFrame]]:
    """Of each method with adapters, its rows and those of whole weights."""
    found = []
    for (dataset, method), block in rows.groupby(["dataset", "method"], sort=False):
        whole = block[(block["way"] == "whole") & (block["rate"] == "default")]
        for rank, low in block[block["way"] != "whole"].groupby("way", sort=False):
            found.append(((str(dataset), str(method), str(rank)), low, whole))
    return found


def named(names: Iterable[object]) -> list[str]:
    dataset, method, way, rate = map(str, names)
    slow = f", rate {rate}" if way == "whole" and rate not in ("", "default") else ""
    return [dataset, method, f"{way}{slow}"]


def _range(interval: pd.Interval) -> str:
    low, high = max(interval.left, 0), interval.right
    return f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} or more"
