"""The figure: how often each finding sees what is left, by how much it is and by the number of retrained models."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from experiments.audit_power import page
from experiments.audit_power.planted import DOSES, LEFT_IN, MIXTURE
from fedunlearn.report import style
from fedunlearn.results.findings import named
from fedunlearn.runs.steps import RETRAINED

OTHERS = 3  # findings that the verdict does not count, the best of them
TITLE = "High is good: a finding that sees little where something is left is no evidence that nothing is."
NOTE = (
    "Alarms on the judging cells, at thresholds that 5 % of the retrained models of the choosing cells are beyond. "
    "Dose 0 is retrained models: false alarms. Bars: 95 % over cells. Right: mean power against doses up to 0.3. "
    "Dashed: not counted by the verdict."
)
PANELS = {LEFT_IN: "share of forget samples left in", MIXTURE: "share of the original's weights"}


def power(found: page.Results) -> Figure:
    """Two panels by dose, one by n."""
    drawn = style.canvas(3.3)
    names = shown(found)
    looks = {name: _look(number, name in found.counted) for number, name in enumerate(names)}
    panels = drawn.subplots(1, 3, sharey=True)
    some = found.power[found.power["n"] == page._shown(found.power)]
    for axes, (kind, label) in zip(panels, PANELS.items(), strict=False):
        for number, name in enumerate(names):
            _by_dose(axes, some[some["finding"] == name], kind, looks[name], number / len(names) - 0.5)
        places = (0.0, *DOSES[kind])
        axes.set_xticks(range(len(places)), [f"{dose:g}" for dose in places])
        axes.set_xlabel(label)
    for name in names:
        _by_size(panels[2], found.power[found.power["finding"] == name], looks[name])
    sizes = sorted(found.power["n"].unique())
    panels[2].set_xscale("log", base=2)
    panels[2].set_xticks(sizes, [str(n) for n in sizes])
    panels[2].set_xlabel("retrained models, n")
    _axes(panels)
    known = page.declarations()
    handles = panels[2].get_lines()
    drawn.legend(handles, [named(name, known).label for name in names], loc="outside lower center", ncols=4)
    style.headed(drawn, TITLE, NOTE)
    panels[0].set_ylabel("alarms")
    return drawn


def shown(found: page.Results) -> list[str]:
    """The findings that count, and the best of the others."""
    ranked = page._ranked(found.power[found.power["n"] == page._shown(found.power)])
    others = [name for name in ranked if name not in found.counted]
    return [*(name for name in ranked if name in found.counted), *others[:OTHERS]]


def _look(number: int, counts: bool) -> dict[str, object]:
    colour = style.METHOD_COLOURS[number % len(style.METHOD_COLOURS)]
    return {"color": colour, "marker": style.METHOD_MARKERS[number], "linestyle": "-" if counts else "--"}


def _by_dose(axes: Axes, own: pd.DataFrame, kind: str, look: dict, aside: float) -> None:
    """`aside`: so that bars stand beside each other."""
    null = own[own["kind"] == RETRAINED]
    line = pd.concat([null, own[own["kind"] == kind].sort_values("dose")])
    places = [place + 0.25 * aside for place in range(len(line))]
    axes.plot(places, line["mean"], **look)
    axes.vlines(places, line["low"], line["high"], color=look["color"], linewidth=0.7)


def _by_size(axes: Axes, own: pd.DataFrame, look: dict) -> None:
    small = own[own["kind"].isin(DOSES) & (own["dose"] <= page.SMALL)].groupby("n")["mean"].mean()
    axes.plot(small.index, small.to_numpy(), **look)


def _axes(panels: list[Axes]) -> None:
    for axes in panels:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(True, axis="y", color=style.PALE, linewidth=0.5)
        axes.set_axisbelow(True)
