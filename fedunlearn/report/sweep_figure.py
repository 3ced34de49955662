"""Erasure against utility for a sweep: every method with its 95 % interval, next to the region of retrained models."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fedunlearn.report import style, words
from fedunlearn.report.statistics import Estimate, column, estimate
from fedunlearn.report.style import METHOD_COLOURS, METHOD_MARKERS, ORIGINAL, RETRAINED

UTILITY = "retain_accuracy"
ERASURES = (("forget_accuracy", "forget_accuracy_train"), ("leak",))  # a panel each; the second name stands in
EXPLAINED = {"leak": "AUSUC leak (0: retrained, 1: original)"}
TITLE = "Aim for the star: forget and keep as much as retraining from scratch does. Lower right is good."
NARROWEST = 0.1  # least range of an axis, so that noise does not look like an effect

Look = tuple[str, str]  # marker and colour


def erasure_utility(rows: pd.DataFrame) -> Figure | None:
    """A line of panels per setting: retain accuracy against forget accuracy and, where measured, against leak.

    `rows` is what `tables.tidy` returns; None if no finished run measured both sides.
    """
    done = rows[rows["status"] == "done"]
    panels = {str(setting): _audits(block) for setting, block in done.groupby("setting", sort=False)}
    panels = {setting: audits for setting, audits in panels.items() if audits}
    if not panels:
        return None
    looks = {str(label): _look(number) for number, label in enumerate(done["label"].unique())}
    figure = style.canvas(0.45 + 2.75 * len(panels) + 0.16 * (len(looks) + 2) / 4)
    for part, (setting, audits) in zip(
        figure.subfigures(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True
    ):
        part.suptitle(setting, x=0.01, ha="left")
        for axes, audit in zip(part.subplots(1, len(audits), squeeze=False)[0], audits, strict=True):
            _panel(axes, done[done["setting"] == setting], audit, looks)
    figure.legend(handles=list(_legend(looks)), loc="outside lower center", ncols=4)
    style.headed(figure, TITLE, "")
    return figure


def _audits(block: pd.DataFrame) -> list[str]:
    """The audits of erasure that some run of the block has, next to its utility."""
    if not _measured(block, UTILITY):
        return []
    found = [next((audit for audit in names if _measured(block, audit)), None) for names in ERASURES]
    return [audit for audit in found if audit]


def _measured(rows: pd.DataFrame, audit: str) -> bool:
    return f"unlearned.{audit}" in rows and bool(rows[f"unlearned.{audit}"].notna().any())


def _look(number: int) -> Look:
    return METHOD_MARKERS[number % len(METHOD_MARKERS)], METHOD_COLOURS[number % len(METHOD_COLOURS)]


def _panel(axes: Axes, block: pd.DataFrame, audit: str, looks: dict[str, Look]) -> None:
    _region(axes, block, audit)
    x, y = _point(block, "retrained", audit)
    axes.plot(x.mean, y.mean, marker="*", markersize=11, color=RETRAINED, markeredgewidth=0, zorder=2)
    x, y = _point(block, "original", audit)
    axes.plot(x.mean, y.mean, marker="o", markersize=7, markerfacecolor="none", markeredgecolor=ORIGINAL, zorder=3)
    for label, group in block.groupby("label", sort=False):
        x, y = _point(group, "unlearned", audit)
        marker, colour = looks[str(label)]
        bars = {"xerr": _bar(x), "yerr": _bar(y), "elinewidth": 0.8, "capsize": 1.5, "ecolor": colour}
        axes.errorbar(
            x.mean,
            y.mean,
            **bars,
            marker=marker,
            markersize=5,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.4,
            zorder=4,
        )
    axes.set_xlabel(f"{words.label(UTILITY)} (more is better →)")
    axes.set_ylabel(f"{EXPLAINED.get(audit, words.label(audit))}\n(← less is better, down to the star)")
    axes.grid(True, color=style.PALE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.margins(0.08)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(_at_least(*axes.get_xlim()))
    axes.set_ylim(_at_least(*axes.get_ylim()))


def _at_least(low: float, high: float) -> tuple[float, float]:
    missing = max(0.0, NARROWEST - (high - low)) / 2
    return low - missing, high + missing


def _region(axes: Axes, block: pd.DataFrame, audit: str) -> None:
    """Across the panel, from the lowest to the highest retrained model of all seeds, on either axis."""
    for span, name in ((axes.axvspan, UTILITY), (axes.axhspan, audit)):
        low, high = column(block, f"retrained_low.{name}").min(), column(block, f"retrained_high.{name}").max()
        if pd.notna(low):
            span(low, high, color=RETRAINED, alpha=0.18, linewidth=0, zorder=1)


def _point(group: pd.DataFrame, model: str, audit: str) -> tuple[Estimate, Estimate]:
    x, y = (estimate(column(group, f"{model}.{name}"), group["seed"]) for name in (UTILITY, audit))
    return x, y


def _bar(value: Estimate) -> float | None:
    """Half a 95 % interval; none from a single seed."""
    return value.half if value.n > 1 else None


def _legend(looks: dict[str, Look]) -> Iterator[Line2D | Rectangle]:
    yield Line2D([], [], linestyle="none", marker="*", markersize=9, color=RETRAINED, label="retrained (mean)")
    yield Rectangle((0, 0), 1, 1, color=RETRAINED, alpha=0.18, label="retrained (lowest to highest)")
    yield Line2D([], [], linestyle="none", marker="o", markerfacecolor="none", color=ORIGINAL, label="original")
    for label, (marker, colour) in looks.items():
        yield Line2D([], [], linestyle="none", marker=marker, color=colour, label=label)
