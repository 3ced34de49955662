"""Erasure against utility for a sweep: every method with its 95 % interval, next to the region of retrained models."""

from __future__ import annotations

from collections.abc import Iterator
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fedunlearn.report import style
from fedunlearn.report.statistics import Estimate, column, estimate, failed_gates
from fedunlearn.report.style import METHOD_COLOURS, METHOD_MARKERS, ORIGINAL, RETRAINED, WIDE, Sheet
from fedunlearn.results.findings import Declared, Finding, named

UTILITY = "retain_accuracy"
SHARE = "0 to 1"  # the scale of a finding that is a share
ERASURES = (("forget_accuracy", "forget_accuracy_train"), ("leak",))  # a panel each; the second name stands in
EXPLAINED = {"leak": "AUSUC leak (0: retrained, 1: original)"}
TITLE = "Aim for the star: forget and keep as much as retraining from scratch does. Lower right is good."
BARS = "Bars: 95 % t-interval over seeds, cut at the edge (none from a single seed)."
GATES = "† Some of these runs failed a sanity gate: no verdict."
TARGET = {"leak": 0.0}  # what an audit is for retrained models by definition, where there are too few to measure it
NARROWEST = 0.1  # least range of the means on an axis, so that noise does not look like an effect
REACH = 0.25  # how far bars widen an axis at most, as a share of that range (with two seeds they can be enormous)

Look = tuple[str, str]  # marker and colour


@dataclass(frozen=True)
class Point:
    """A model in a panel: its utility and what is left to erase."""

    x: Estimate
    y: Estimate


def erasure_utility(rows: pd.DataFrame, declared: Declared, sheet: Sheet = WIDE) -> Figure | None:
    """A line of panels per setting: retain accuracy against forget accuracy and, where measured, against leak.

    `rows` is what `tables.tidy` returns, `declared` what its runs declare; None if no finished run measured both sides.
    """
    done = rows[rows["status"] == "done"]
    panels = {str(setting): _audits(block) for setting, block in done.groupby("setting", sort=False)}
    panels = {setting: audits for setting, audits in panels.items() if audits}
    if not panels:
        return None
    looks, doubtful = looks_of(done), doubtful_of(done)
    lines = sum(len(audits) for audits in panels.values()) if sheet.stacked else len(panels)
    figure = sheet.canvas(0.45 + 2.75 * lines + 0.16 * (len(looks) + 6) / sheet.columns)
    heights = [len(audits) if sheet.stacked else 1 for audits in panels.values()]
    parts = figure.subfigures(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (setting, audits) in zip(parts, panels.items(), strict=True):
        part.suptitle(sheet.wrapped(setting), x=0.01, ha="left")
        for axes, audit in zip(sheet.panels(part, len(audits)), audits, strict=True):
            _panel(axes, done[done["setting"] == setting], named(audit, declared), looks)
            axes.set_xlabel(f"{named(UTILITY, declared).label} (more is better →)")
    note = f"{BARS} {GATES}" if doubtful else BARS
    handles = list(_legend(looks, doubtful))
    legend = figure.legend(handles=handles, title=sheet.wrapped(note), loc="outside lower center", ncols=sheet.columns)
    legend.get_title().set(color=style.GREY, fontsize=style.SMALL)
    sheet.headed(figure, TITLE, "")
    return figure


def _audits(block: pd.DataFrame) -> list[str]:
    """The audits of erasure that some run of the block has, next to its utility."""
    if not _measured(block, UTILITY):
        return []
    found = [next((audit for audit in names if _measured(block, audit)), None) for names in ERASURES]
    return [audit for audit in found if audit]


def _measured(rows: pd.DataFrame, audit: str) -> bool:
    return f"unlearned.{audit}" in rows and bool(rows[f"unlearned.{audit}"].notna().any())


def looks_of(done: pd.DataFrame) -> dict[str, Look]:
    """Marker and colour of every method, the same in all figures of a sweep."""
    return {str(label): _look(number) for number, label in enumerate(done["label"].unique())}


def _look(number: int) -> Look:
    """Of as many methods as there are colours, none has that of another; beyond, by steps of the golden angle."""
    marker = METHOD_MARKERS[number % len(METHOD_MARKERS)]
    if number < len(METHOD_COLOURS):
        return marker, METHOD_COLOURS[number]
    hue, saturation, value = (number * step % 1 for step in (0.618034, 0.7548, 0.5698))
    return marker, to_hex(hsv_to_rgb(hue, 0.45 + saturation / 2, 0.45 + 0.4 * value))


def doubtful_of(done: pd.DataFrame) -> set[str]:
    """Methods with a run that failed a sanity gate."""
    return {str(label) for label, group in done.groupby("label") if failed_gates(group)}


def _panel(axes: Axes, block: pd.DataFrame, finding: Finding, looks: dict[str, Look]) -> None:
    audit = finding.name
    _region(axes, block, audit)
    retrained, original = _point(block, "retrained", audit), _point(block, "original", audit)
    star: dict[str, Any] = {"markersize": 11, "color": RETRAINED, "markeredgewidth": 0, "clip_on": False}
    axes.plot(retrained.x.mean, retrained.y.mean, marker="*", zorder=2, **star)
    ring: dict[str, Any] = {
        "markersize": 7, "markerfacecolor": "none", "markeredgecolor": ORIGINAL, "clip_on": False,
    }  # fmt: skip
    axes.plot(original.x.mean, original.y.mean, marker="o", zorder=3, **ring)
    methods = {str(label): _point(group, "unlearned", audit) for label, group in block.groupby("label", sort=False)}
    _axis(axes, EXPLAINED.get(audit, finding.label), [retrained, original, *methods.values()], finding.scale)
    places = [(point.x.mean, point.y.mean) for point in methods.values()]
    large = style.sizes(places, (float(np.ptp(axes.get_xlim())), float(np.ptp(axes.get_ylim()))))
    for (label, point), size in zip(methods.items(), large, strict=True):
        marker, colour = looks[label]
        axes.errorbar(
            point.x.mean, point.y.mean, xerr=bar(point.x), yerr=bar(point.y), color=colour, elinewidth=0.8,
            capsize=1.5, zorder=4,
        )  # fmt: skip
        axes.plot(
            point.x.mean, point.y.mean, color=colour, marker=marker, markersize=size, markeredgecolor="white",
            markeredgewidth=0.4, zorder=5, clip_on=False,
        )  # fmt: skip


def _axis(axes: Axes, name: str, points: list[Point], scale: str) -> None:
    axes.set_ylabel(f"{name}\n(← less is better, down to the star)")
    axes.grid(True, color=style.PALE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlim(limits([point.x for point in points], most=1.0))
    axes.set_ylim(limits([point.y for point in points], most=1.0 if scale == SHARE else inf))


def limits(values: list[Estimate], most: float = inf) -> tuple[float, float]:
    """Ends of an axis that shows all means, and of their bars as much as does not squeeze the means together.

    `most`: what no value exceeds, and where the axis ends at the latest.
    """
    known = [value for value in values if pd.notna(value.mean)]
    low, high = min(value.mean for value in known), max(value.mean for value in known)
    span = max(high - low, NARROWEST)
    low, high = (low + high - span) / 2, (low + high + span) / 2
    lowest = min(value.mean - (bar(value) or 0) for value in known)
    highest = max(value.mean + (bar(value) or 0) for value in known)
    edge = 0.08 * span
    top = min(max(high, highest), high + REACH * span) + edge
    return max(min(low, lowest), low - REACH * span) - edge, min(top, most)


def _region(axes: Axes, block: pd.DataFrame, audit: str) -> None:
    """Across the panel, from the lowest to the highest retrained model of all seeds, on either axis."""
    for span, name in ((axes.axvspan, UTILITY), (axes.axhspan, audit)):
        low, high = column(block, f"retrained_low.{name}").min(), column(block, f"retrained_high.{name}").max()
        if pd.notna(low):
            span(low, high, color=RETRAINED, alpha=0.18, linewidth=0, zorder=1)


def _point(group: pd.DataFrame, model: str, audit: str) -> Point:
    x, y = (estimate(column(group, f"{model}.{name}"), group["seed"]) for name in (UTILITY, audit))
    if model == "retrained" and y.n == 0 and audit in TARGET:
        y = Estimate(TARGET[audit], nan, nan, 0)
    return Point(x, y)


def bar(value: Estimate) -> float | None:
    """Half a 95 % interval; none from a single seed."""
    return value.half if value.n > 1 else None


def _legend(looks: dict[str, Look], doubtful: set[str]) -> Iterator[Line2D | Rectangle]:
    yield Line2D([], [], linestyle="none", marker="*", markersize=9, color=RETRAINED, label="retrained (mean)")
    yield Rectangle((0, 0), 1, 1, color=RETRAINED, alpha=0.18, label="retrained (lowest to highest)")
    yield Line2D([], [], linestyle="none", marker="o", markerfacecolor="none", color=ORIGINAL, label="original")
    for label, (marker, colour) in looks.items():
        said = f"{label} †" if label in doubtful else label
        yield Line2D([], [], linestyle="none", marker=marker, color=colour, label=said)
