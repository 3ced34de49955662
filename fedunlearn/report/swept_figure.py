"""Erasure and utility against a number that a sweep varies, such as the number of clients or rounds, on shared axes."""

from __future__ import annotations

import re

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedunlearn.report import style
from fedunlearn.report.statistics import column, estimate
from fedunlearn.report.style import RETRAINED, WIDE, Sheet
from fedunlearn.report.sweep_figure import SHARE, UTILITY, bar, looks_of
from fedunlearn.report.swept import PREFIX
from fedunlearn.results.findings import Declared, named

CALLED = {  # instead of their names in conf/
    "partition.alpha": "Dirichlet α",  # noqa: RUF001
    "partition.clients": "clients",
    "train.rounds": "rounds of training",
    "unlearn.rounds": "rounds of unlearning",
    "select.share": "share of retain samples replayed",
}
WIDELY = 20  # the largest over the smallest value from which on the axis is logarithmic
ERASURES = ("forget_accuracy", "forget_accuracy_train", "leak")
NOTE = "Bars: 95 % t-interval over seeds, cut at the edge. Blue: the retrained models, lowest to highest of all seeds."


def swept(rows: pd.DataFrame, declared: Declared, sheet: Sheet = WIDE) -> Figure | None:
    """A panel for what is left and one for utility, against the only number that varies; None if that is not one."""
    done = rows[rows["status"] == "done"]
    keys = [str(name) for name in done if str(name).startswith(PREFIX) and done[name].nunique() > 1]
    audits = [next((name for name in ERASURES if column(done, f"unlearned.{name}").notna().any()), ""), UTILITY]
    if len(keys) != 1 or "" in audits:
        return None
    key = keys[0].removeprefix(PREFIX)
    done = done.assign(label=[_without(str(label), key) for label in done["label"]])
    looks = looks_of(done)
    figure = sheet.canvas(4.2 + 0.16 * (len(looks) + 4) / sheet.columns)
    for axes, audit in zip(figure.subplots(2, 1, sharex=True), audits, strict=True):
        _panel(axes, done, keys[0], audit, looks)
        finding = named(audit, declared)
        axes.set_ylabel(finding.label)
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0.0), min(high, 1.0)) if finding.scale == SHARE else axes.set_ylim(low, high)
    values = sorted(done[keys[0]].unique())
    if values[0] > 0 and values[-1] / values[0] >= WIDELY:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xlabel(CALLED.get(key, key))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=sheet.columns)
    sheet.headed(figure, f"What is left, and what it costs in accuracy, by {CALLED.get(key, key)}", NOTE)
    return figure


def _without(label: str, key: str) -> str:
    """The label without the number that the axis shows."""
    name = re.escape(key.removeprefix("method."))
    return re.sub(r" \(\)$", "", re.sub(rf"(?<=\(){name}=[^,)]*(, )?|, {name}=[^,)]*", "", label))


def _panel(axes: Axes, done: pd.DataFrame, key: str, audit: str, looks: dict[str, tuple[str, str]]) -> None:
    values = sorted(float(value) for value in done[key].unique())
    low, high = (
        [getattr(column(done[done[key] == value], f"retrained_{end}.{audit}"), extreme)() for value in values]
        for end, extreme in (("low", "min"), ("high", "max"))
    )
    axes.fill_between(values, low, high, color=RETRAINED, alpha=0.25, linewidth=0, label="retrained")
    for label, group in done.groupby("label", sort=False):
        marker, colour = looks[str(label)]
        own = [value for value in values if (group[key] == value).any()]
        parts = [group[group[key] == value] for value in own]
        points = [estimate(column(part, f"unlearned.{audit}"), part["seed"]) for part in parts]
        axes.errorbar(
            own, [point.mean for point in points],
            yerr=[bar(point) or 0.0 for point in points], color=colour, marker=marker, elinewidth=0.8,
            capsize=1.5, markeredgecolor="white", markeredgewidth=0.4, label=str(label),
        )  # fmt: skip
    axes.grid(True, color=style.PALE, linewidth=0.5)
    axes.set_axisbelow(True)
