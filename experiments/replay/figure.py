"""The figure: what a share of the retain samples costs in retain accuracy, selector by selector."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from experiments.replay.page import CELL, POINT, RETAIN, against_all
from fedunlearn.report import style

TITLE = "High and to the left is good: few samples replayed, little retain accuracy lost."
NOTE = (
    "Lines: means over seeds. Grey: all seeds of a random subset, lowest to highest. Dashed: one point lost. "
    "Intervals are in table.md."
)
HEIGHT = 1.9  # inches of a panel


def accuracy_by_share(frame: pd.DataFrame) -> Figure:
    """A panel for each method and partition, methods below each other. `frame`: the table of the runs."""
    done = against_all(frame[frame["status"] == "done"])
    some = done[done["select"] != "all"].assign(lost=lambda rows: 100 * rows[f"lost.{RETAIN}"])
    settings, methods = (list(some[name].unique()) for name in CELL)
    drawn = style.canvas(0.7 + HEIGHT * len(methods))
    panels = drawn.subplots(len(methods), len(settings), squeeze=False, sharex=True, sharey="row")
    for line, method in zip(panels, methods, strict=True):
        for axes, setting in zip(line, settings, strict=True):
            _panel(axes, some[(some["method"] == method) & (some["setting"] == setting)])
            axes.set_title(f"{method}, {_split(setting)}")
        line[0].set_ylabel("retain accuracy minus that\nwith all samples (points)")
    for axes in panels[-1]:
        axes.set_xlabel("retain samples replayed (%)")
    panels[0, 0].legend(loc="lower right", ncols=2)  # where nothing is lost, there is room below
    style.headed(drawn, TITLE, NOTE)
    return drawn


def _split(setting: str) -> str:
    """The part of a setting's name that says how data are dealt out: `dataset, model, partition, ...`."""
    return setting.split(", ")[2]


def _panel(axes: Axes, runs: pd.DataFrame) -> None:
    shares = sorted(runs["share"].unique())
    drawn = runs[runs["select"] == "random"].groupby("share")["lost"]
    axes.fill_between([100 * share for share in shares], drawn.min(), drawn.max(), color=style.PALE, linewidth=0)
    axes.axhline(0, color=style.ORIGINAL, linewidth=0.6)
    axes.axhline(-100 * POINT, color=style.GREY, linewidth=0.6, linestyle="--")
    looks = zip(style.METHOD_COLOURS, style.METHOD_MARKERS, strict=False)
    for (name, own), (colour, marker) in zip(runs.groupby("select", sort=False), looks, strict=False):
        means = own.groupby("share")["lost"].mean()
        axes.plot([100 * share for share in means.index], means, marker, ls="-", color=colour, label=name, lw=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([100 * share for share in shares]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
