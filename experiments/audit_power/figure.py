"""The figure: how often each finding sees what is left, by how much it is and by the number of retrained models."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from experiments.audit_power import page
from experiments.audit_power.planted import DOSES, LEFT_IN, MIXTURE
from fedunlearn.report import style
from fedunlearn.results.findings import named
from fedunlearn.runs.steps import RETRAINED

OTHERS = 3  # findings that the verdict does not count, the best of them
TITLE = "High is good: a finding that sees little where something is left is no evidence that nothing is."
NOTE = (
    "Alarms on the judging cells, at thresholds that 5 % of the retrained models of the choosing cells are beyond. "
    "Dose 0 is retrained models: false alarms. Bars: 95 % over cells. Lower panels: mean power against doses up to "
    f"{page.SMALL:g}. Dashed: not counted by the verdict."
)
PANELS = {LEFT_IN: "share of forget samples left in", MIXTURE: "share of the original's weights"}


def power(found: page.Results) -> Figure:
    """Two panels by dose, below them one by n and one by the number of forget samples."""
    drawn = style.canvas(5.2)
    names = shown(found)
    looks = {name: _look(number, name in found.counted) for number, name in enumerate(names)}
    panels = drawn.subplots(2, 2, sharey=True)
    some = found.power[found.power["n"] == page.shown(found.power)]
    for axes, (kind, label) in zip(panels[0], PANELS.items(), strict=True):
        for number, name in enumerate(names):
            _by_dose(axes, some[some["finding"] == name], kind, looks[name], number / len(names) - 0.5)
        places = (0.0, *DOSES[kind])
        axes.set_xticks(range(len(places)), [f"{dose:g}" for dose in places])
        axes.set_xlabel(label)
    for axes, rows, by, label in (
        (panels[1, 0], found.power, "n", "retrained models, n"),
        (panels[1, 1], found.sampled, "forget_samples", "forget samples"),
    ):
        _by_size(axes, rows, by, looks)
        axes.set_xlabel(label)
    for axes in panels.flat:
        _percents(axes)
    known = page.declarations()
    drawn.legend(panels[0, 0].get_lines(), [named(name, known).label for name in names], loc="outside right center")
    style.headed(drawn, TITLE, NOTE)
    return drawn


def shown(found: page.Results) -> list[str]:
    """The findings that count, and the best of the others."""
    ranked = page.ranked(found.power[found.power["n"] == page.shown(found.power)])
    others = [name for name in ranked if name not in found.counted]
    return [*(name for name in ranked if name in found.counted), *others[:OTHERS]]


def _look(number: int, counts: bool) -> dict[str, Any]:
    colour = style.METHOD_COLOURS[number % len(style.METHOD_COLOURS)]
    return {"color": colour, "marker": style.METHOD_MARKERS[number], "linestyle": "-" if counts else "--"}


def _by_dose(axes: Axes, own: pd.DataFrame, kind: str, look: dict[str, Any], aside: float) -> None:
    """`aside`: so that bars stand beside each other."""
    line = pd.concat([own[own["kind"] == RETRAINED], own[own["kind"] == kind].sort_values("dose")])
    places = [place + 0.25 * aside for place in range(len(line))]
    axes.plot(places, line["mean"], **look)
    axes.vlines(places, line["low"], line["high"], color=look["color"], linewidth=0.7)


def _by_size(axes: Axes, rows: pd.DataFrame, by: str, looks: dict[str, dict[str, Any]]) -> None:
    for name, look in looks.items():
        means = page.small_doses(rows[rows["finding"] == name], by).sort_index()
        axes.plot(means.index, means.to_numpy(), **look)
    sizes = sorted(rows[by].unique())
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())


def _percents(axes: Axes) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(True, axis="y", color=style.PALE, linewidth=0.5)
    axes.set_axisbelow(True)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("alarms")
