"""The page: per method the verdicts over all cells, how far from the retrained models, and at what cost."""

# ruff: noqa: RUF001 (minus signs and Greek letters are meant)

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.sweeps import markdown, share_of_retraining, spread
from fedunlearn.report.formats import UNKNOWN, fixed, signed
from fedunlearn.report.statistics import column, failed_gates
from fedunlearn.report.verdict import NONE, WORDS

CONTROLS = {"retrain": "one more retraining", "head_mask": "one bias lowered", "fedavg": "more rounds on everything"}
NAMES = {
    "leak": "leak",
    "gamma_recovered": "one scalar",
    "prototype_forget_accuracy": "prototype",
    "relearn_batches": "relearning",
}
READING = """\
A cell is a dataset, a forgotten class and a seed; in each, every method starts from the same original model and is
held against the same retrained ones. The verdict ([docs/audits.md](../../docs/audits.md#the-verdict)) looks at
four findings: AUSUC leak, forget accuracy after one scalar is added to the forgotten logit, forget accuracy after
five samples are averaged into a row of the head, and mini-batches until relearnt. One counts where the original
model is above the band of the retrained ones. **Erased**: all that count are inside their bands, and the original
model is far above one. **Suppressed**: the accuracy is gone, but two are above their bands, or one far above.
**Over-erased**: none is above its band, and two are below, or one far below. **Not erased**: not even the accuracy
is gone. **No verdict**: nothing counts, only one is outside its band and not far, or all are inside bands that the
original model is not far above.

*Margins* are in noise floors, medians over the cells and in brackets the lowest and highest: above 0 more is left than
in retrained models, 0 to −2 is inside the band, below −2 less is left. *Retain gap*: retain accuracy minus that of
the retrained models, mean ± standard deviation over cells. *Time* and *samples* (work of the clients) are those of
unlearning as a share of one retraining, which has as many rounds as training and unlearning together.

Controls: `retrain` is one more retraining, so that its line shows how often the verdict is wrong about a model in
which nothing is left; `head_mask` lowers one bias and leaves everything; `fedavg` just trains on, forget data
included."""
LEFT = """\
## How much is left

The same findings as shares of the way from the retrained models (0) to the original one (1), mean ± standard deviation
over cells: what one scalar brings back, what a prototype of five samples brings back, and, by logarithms, the head
start in relearning. AUSUC leak is such a share by itself."""
SHARES = ("gamma_recovered", "prototype_forget_accuracy", "relearn_batches")
ATTACK = "u_lira"  # the sweep with shadow models
SHADOWS = 16
FOUND = ("u_lira_auc", "u_lira_tpr")
ATTACKED = f"""\
## U-LiRA

An attacker with {SHADOWS} shadow models, trained and unlearned as the run was, each without a random half of the forget
samples, tries to say which of these samples a model held ([docs/audits.md](../../docs/audits.md#u_lira)): area under
the ROC curve, and share of samples found at 1 % of false alarms. Where the original model's is no higher than those of
the retrained ones, from lowest to highest, it finds nothing to begin with. {{setting}}, one seed."""


def build(frame: pd.DataFrame) -> str:
    """Markdown, from the table of the runs."""
    done = cells(frame)
    parts = ["# Who really erases, and at what cost", READING, "## All cells", _told(done), _table(done)]
    parts += [LEFT, _left_table(done)]
    for setting, group in done.groupby("setting", sort=False):
        gates = failed_gates(group)
        parts += [f"## {setting}", _table(group), *([f"A sanity gate failed: {gates}."] * bool(gates))]
    parts += _attacked(frame[(frame["status"] == "done") & (frame["sweep"] == ATTACK)])
    seeds = ", ".join(map(str, sorted(done["seed"].unique())))
    parts.append(f"Seeds {seeds}; versions and machine are in environment.json, every run in runs.csv.")
    return "\n\n".join(parts)


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs that are done and judged: all but those of the attack with shadow models."""
    return frame[(frame["status"] == "done") & (frame["sweep"] != ATTACK)]


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
    header = ["method", *WORDS, *(f"{name} margin" for name in NAMES.values()), "forget accuracy", "retain gap"]
    rows = [_row(method, done[done["method"] == method]) for method in ranked(done)]
    return markdown([*header, "time", "samples"], [*rows, _original(done)])


def _row(method: str, group: pd.DataFrame) -> Sequence[str]:
    counted = [str(number) if number else "" for number in _counts(group)]
    margins = [_margin(column(group, f"margin.{finding}")) for finding in NAMES]
    utility = spread(column(group, "gap.retain_accuracy"), show=signed)
    costs = [share_of_retraining(group, cost) for cost in ("seconds", "samples")]
    return [_named(method), *counted, *margins, spread(column(group, "unlearned.forget_accuracy")), utility, *costs]


def _left_table(done: pd.DataFrame) -> str:
    """Methods by what is left of each of `SHARES`, dataset by dataset."""
    datasets = list(done["dataset"].unique())
    header = ["method", *(f"{NAMES[finding]}, {dataset}" for dataset in datasets for finding in SHARES)]
    rows = []
    for method in ranked(done):
        own = done[done["method"] == method]
        groups = [own[own["dataset"] == dataset] for dataset in datasets]
        shares = [left(group, finding) for group in groups for finding in SHARES]
        rows.append([_named(method), *(spread(share, show=_short) for share in shares)])
    return markdown(header, rows)


def left(runs: pd.DataFrame, finding: str) -> pd.Series:
    """Where each unlearned model stands on a finding: 0 as the retrained ones, 1 as the original."""
    values = [column(runs, f"{model}.{finding}") for model in ("unlearned", "retrained", "original")]
    if finding == "relearn_batches":  # 0 to 100, and the first ones count most
        values = [np.log1p(each) for each in values]
    unlearned, retrained, original = values
    return (unlearned - retrained) / (original - retrained)


def _short(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _original(done: pd.DataFrame) -> Sequence[str]:
    """The model that everything starts from: a finding on which it is not above 0 can tell nothing."""
    once = done.drop_duplicates(["setting", "seed"])
    margins = [_margin(column(once, f"original_margin.{finding}")) for finding in NAMES]
    retain = column(once, "original.retain_accuracy") - column(once, "retrained.retain_accuracy")
    forget = spread(column(once, "original.forget_accuracy"))
    return ["original model", *[""] * len(WORDS), *margins, forget, spread(retain, show=signed), "", ""]


def _attacked(runs: pd.DataFrame) -> list[str]:
    """The section on the attack with shadow models; nothing where there was none."""
    if runs.empty:
        return []
    first = runs.iloc[0]
    low, high = (_values(first, f"retrained_{end}") for end in ("low", "high"))
    ranges = [f"{least} to {most}" for least, most in zip(low, high, strict=True)]
    rows = [["original model", *_values(first, "original")], ["retrained models", *ranges]]
    rows += [[_named(str(run["method"])), *_values(run, "unlearned")] for _, run in runs.iterrows()]
    return [ATTACKED.format(setting=first["setting"]), markdown(["", "AUC", "found at 1 %"], rows)]


def _values(run: pd.Series, model: str) -> list[str]:
    return [fixed(run[f"{model}.{name}"]) for name in FOUND]


def _named(method: str) -> str:
    return f"{method} (control)" if method in CONTROLS else f"**{method}**"


def _margin(values: pd.Series) -> str:
    """`−0.4 (−1.9 to 1.2)`: median, lowest and highest."""
    known = values.dropna()
    if known.empty:
        return UNKNOWN
    mean, low, high = (f"{value:.1f}".replace("-", "−") for value in (known.median(), known.min(), known.max()))
    return mean if len(known) == 1 else f"{mean} ({low} to {high})"
