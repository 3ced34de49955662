"""The page: per method the verdicts over all cells, how far from the retrained models, and at what cost."""

# ruff: noqa: RUF001 (minus signs and Greek letters are meant)

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.sweeps import markdown, share_of_retraining, spread
from fedunlearn.report.formats import UNKNOWN, signed
from fedunlearn.report.statistics import column, failed_gates
from fedunlearn.report.verdicts import NONE, WORDS
from fedunlearn.verdict import CRITERIA

CONTROLS = {"retrain": "one more retraining", "head_mask": "one bias lowered", "fedavg": "more rounds on everything"}
NAMES = {"leak": "leak", "probe_forget_accuracy": "probe", "relearn_batches": "relearning"}
READING = """\
A cell is a dataset, a forgotten class and a seed; in each, every method starts from the same original model and is
held against the same retrained ones. The verdict ([docs/audits.md](../../docs/audits.md)) looks at three
findings: AUSUC leak, linear probe on the features, and mini-batches until relearnt. **Erased**: all three inside the
band of the retrained models. **Over-erased**: none above it, at least one below. **Suppressed**: the accuracy is
gone, but at least one of the three is above the band. **Not erased**: not even the accuracy is gone.

*Margins* are in noise floors, means over the cells and in brackets the lowest and highest: above 0 more is left than
in retrained models, 0 to −2 is inside the band, below −2 less is left. *Retain gap*: retain accuracy minus that of
the retrained models, mean ± standard deviation over cells. *Time* and *samples* (work of the clients) are those of
unlearning as a share of one retraining, which has as many rounds as training and unlearning together.

Controls: `retrain` is one more retraining, so that its line shows how often the verdict is wrong about a model in
which nothing is left; `head_mask` lowers one bias and leaves everything; `fedavg` just trains on, forget data
included."""


def build(frame: pd.DataFrame) -> str:
    """Markdown, from the table of the runs."""
    done = frame[frame["status"] == "done"]
    parts = ["# Who really erases, and at what cost", READING, "## All cells", _told(done), _table(done)]
    for setting, group in done.groupby("setting", sort=False):
        gates = failed_gates(group)
        parts += [f"## {setting}", _table(group), *([f"A sanity gate failed: {gates}."] * bool(gates))]
    seeds = ", ".join(map(str, sorted(done["seed"].unique())))
    parts.append(f"Seeds {seeds}; versions and machine are in environment.json, every run in runs.csv.")
    return "\n\n".join(parts)


def ranked(done: pd.DataFrame) -> list[str]:
    """Methods from the one that erases in most cells to the one that does in fewest, then by what comes next."""
    counts = {str(method): _counts(group) for method, group in done.groupby("method", sort=False)}
    return sorted(counts, key=lambda method: [-number for number in counts[method]])


def counts(done: pd.DataFrame) -> pd.DataFrame:
    """Number of cells by method (rows, ranked) and verdict (columns, WORDS)."""
    groups = {str(method): group for method, group in done.groupby("method", sort=False)}
    return pd.DataFrame({method: _counts(groups[method]) for method in ranked(done)}, index=list(WORDS)).T


def _counts(group: pd.DataFrame) -> list[int]:
    words = group["verdict"].fillna("").replace("", NONE)
    return [int((words == word).sum()) for word in WORDS]


def _told(done: pd.DataFrame) -> str:
    """The first thing to know, in words."""
    table = counts(done)
    cells = int(table.iloc[0].sum())
    real = [f"`{name}` ({row['erased']})" for name, row in table.iterrows() if row["erased"] and name not in CONTROLS]
    gone = [name for name, row in table.iterrows() if row["suppressed"] and name not in CONTROLS]
    parts = [f"Of {cells} cells, one more retraining is called erased in {_of(table, 'retrain', 'erased')}."]
    parts.append(f"Methods that are called so at least once: {', '.join(real) or 'none'}.")
    parts.append(f"{len(gone)} methods bring the accuracy to chance in some cell where more is left underneath.")
    return " ".join(parts)


def _of(table: pd.DataFrame, method: str, word: str) -> str:
    return str(table.loc[method, word]) if method in table.index else UNKNOWN


def _table(done: pd.DataFrame) -> str:
    header = ["method", *WORDS, *(f"{NAMES[name]} margin" for name in CRITERIA), "forget accuracy", "retain gap"]
    rows = [_row(method, done[done["method"] == method]) for method in ranked(done)]
    return markdown([*header, "time", "samples"], rows)


def _row(method: str, group: pd.DataFrame) -> Sequence[str]:
    name = f"{method} (control)" if method in CONTROLS else f"**{method}**"
    counted = [str(number) if number else "" for number in _counts(group)]
    margins = [_margin(column(group, f"margin.{finding}")) for finding in CRITERIA]
    utility = spread(column(group, "gap.retain_accuracy"), show=signed)
    costs = [share_of_retraining(group, cost) for cost in ("seconds", "samples")]
    return [name, *counted, *margins, spread(column(group, "unlearned.forget_accuracy")), utility, *costs]


def _margin(values: pd.Series) -> str:
    """`−0.4 (−1.9 to 1.2)`."""
    known = values.dropna()
    if known.empty:
        return UNKNOWN
    mean, low, high = (f"{value:.1f}".replace("-", "−") for value in (known.mean(), known.min(), known.max()))
    return mean if len(known) == 1 else f"{mean} ({low} to {high})"
