"""The figure: what each method's cells were called, what it did to the rest, and what it cost."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from experiments.true_erasure.page import CONTROLS, cells, counts
from fedunlearn.report import style
from fedunlearn.report.statistics import column
from fedunlearn.report.verdict import WORDS

# Colour and hatch by verdict; the last is for cells without one.
LOOKS = {
    "erased": ("#009E73", ""),
    "over-erased": ("#56B4E9", "..."),
    "suppressed": ("#E69F00", "///"),
    "not erased": ("#D55E00", "xxx"),
    "no verdict": (style.PALE, ""),
}
TITLE = "Green, near zero and far to the left is good: erased, nothing else lost, cheaply."
NOTE = "Points: one for each cell, darker where several fall together; bar: their mean. Grey names: controls."
CHEAPEST = 1e-3  # share of the time of retraining; what is cheaper stands here
ROW = 0.24  # inches for a method


def erasure_and_cost(frame: pd.DataFrame) -> Figure:
    """Three panels with a line for each method, ranked as in the table. `frame`: the table of the runs."""
    done = cells(frame)
    table = counts(done)
    drawn = style.canvas(1.5 + ROW * len(table))
    verdicts, utility, cost = drawn.subplots(1, 3, sharey=True, width_ratios=(2, 1.3, 1.3))
    _verdicts(verdicts, table)
    _points(utility, done, list(table.index), 100 * column(done, "gap.retain_accuracy"))
    utility.axvline(0, color=style.RETRAINED, linewidth=0.8, zorder=1)
    utility.set_xlabel("retain accuracy minus\nthat of retrained models (points)")
    share = (column(done, "cost.unlearn.seconds") / column(done, "cost.retrain.seconds")).clip(lower=CHEAPEST)
    _points(cost, done, list(table.index), share)
    _time_axis(cost)
    legend = drawn.legend(*verdicts.get_legend_handles_labels(), title=NOTE, loc="outside lower center", ncols=5)
    legend.get_title().set(color=style.GREY, fontsize=style.SMALL)
    style.headed(drawn, TITLE, "")
    return drawn


def _verdicts(axes: Axes, table: pd.DataFrame) -> None:
    places = range(len(table))
    left = pd.Series(0, index=table.index)
    for word in WORDS:
        colour, hatch = LOOKS[word]
        edge = {"edgecolor": "white", "linewidth": 0.4}
        axes.barh(places, table[word], left=left, height=0.7, color=colour, hatch=hatch, label=word, **edge)
        left = left + table[word]
    axes.set_yticks(places, [str(name) for name in table.index])
    for tick, name in zip(axes.get_yticklabels(), table.index, strict=True):
        tick.set_color(style.GREY if name in CONTROLS else style.ORIGINAL)
    axes.invert_yaxis()
    axes.set_xlim(0, int(table.sum(axis=1).max()))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("cells (dataset, class, seed)\nby verdict")


def _points(axes: Axes, done: pd.DataFrame, methods: list[str], values: pd.Series) -> None:
    for place, method in enumerate(methods):
        own = values[done["method"] == method]
        axes.plot(own, [place] * len(own), "o", color=style.UNLEARNED, alpha=0.35, markersize=3.5, markeredgewidth=0)
        axes.plot([own.mean()] * 2, [place - 0.3, place + 0.3], color=style.ORIGINAL, linewidth=1.2)
    axes.grid(True, axis="x", color=style.PALE, linewidth=0.5)
    axes.set_axisbelow(True)


def _time_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_xlim(left=CHEAPEST / 1.5)
    axes.axvline(1, color=style.RETRAINED, linewidth=0.8, zorder=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"≤{x:g}" if x == CHEAPEST else f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("time as a share\nof retraining")
