"""Distance to the retrained models against the time that unlearning took, for a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fedunlearn.report import style
from fedunlearn.report.statistics import Estimate, column, estimate
from fedunlearn.report.style import RETRAINED, WIDE, Sheet
from fedunlearn.report.sweep_figure import Look, bar, doubtful_of, limits, looks_of
from fedunlearn.results.findings import Declared, named

TITLE = "Near the retrained models, at a fraction of their price: lower left is good."
NOTE = (
    "Time of unlearning, over that of one retraining in the same run. Bars: 95 % t-interval over seeds, cut at the "
    "edge.\nBlue line: the noise floor; below it, the audit cannot tell a model from a retrained one."
)
ACCURACIES = ("forget_accuracy", "retain_accuracy", "probe_forget_accuracy")
FASTEST = 1e-3  # share of the time of retraining; what is faster stands here


@dataclass(frozen=True)
class Distance:
    """A way to be far from the retrained models: one value per run (0: as retrained), and its noise floor."""

    name: str
    values: pd.Series
    floor: pd.Series


def distance_cost(rows: pd.DataFrame, declared: Declared, sheet: Sheet = WIDE) -> Figure | None:
    """A line of panels per setting: gap in accuracy and, where measured, flow TV, against the share of time.

    `rows` is what `tables.tidy` returns, `declared` what its runs declare; None where no finished run has both a
    distance and its times.
    """
    done = rows[rows["status"] == "done"].copy()
    if done.empty:
        return None
    done["share"] = (column(done, "cost.unlearn.seconds") / column(done, "cost.retrain.seconds")).clip(lower=FASTEST)
    panels = {
        str(setting): (block, distances(block, declared)) for setting, block in done.groupby("setting", sort=False)
    }
    panels = {setting: panel for setting, panel in panels.items() if panel[1] and panel[0]["share"].notna().any()}
    if not panels:
        return None
    looks = looks_of(done)
    heights = [len(ways) if sheet.stacked else 1 for _, ways in panels.values()]
    figure = sheet.canvas(0.6 + 2.5 * sum(heights) + 0.16 * (len(looks) + 6) / sheet.columns)
    parts = figure.subfigures(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (setting, (block, ways)) in zip(parts, panels.items(), strict=True):
        part.suptitle(sheet.wrapped(setting), x=0.01, ha="left")
        for axes, way in zip(sheet.panels(part, len(ways)), ways, strict=True):
            _panel(axes, block, way, looks)
    _explain(figure, looks, doubtful_of(done), sheet)
    return figure


def distances(block: pd.DataFrame, declared: Declared) -> list[Distance]:
    """The largest gap among the accuracies, then the flow's total variation; those that some run has."""
    stand_ins = {finding.name: finding.stands_in_for for finding in declared.values()}
    audits = [*ACCURACIES, *(name for name, other in stand_ins.items() if other in ACCURACIES)]
    known = [audit for audit in audits if column(block, f"gap.{audit}").notna().any()]
    known = [audit for audit in known if stand_ins.get(audit) not in known]
    gaps, floors = (
        pd.DataFrame({audit: column(block, f"{part}.{audit}") for audit in known}, index=block.index)
        for part in ("gap", "noise")
    )
    said = ", ".join(named(audit, declared).label.replace(" accuracy", "") for audit in known)
    accuracy = Distance(f"largest gap in accuracy\n({said})", gaps.abs().max(axis=1), floors.max(axis=1))
    flow = Distance(
        "total variation between flows of\nforgotten samples (flow TV)",
        column(block, "unlearned.flow_tv"),
        column(block, "retrained.flow_tv"),
    )
    return [way for way in (accuracy, flow) if way.values.notna().any()]


def _panel(axes: Axes, block: pd.DataFrame, way: Distance, looks: dict[str, Look]) -> None:
    floor = estimate(way.floor, block["seed"]).mean
    if pd.notna(floor):
        axes.axhline(floor, color=RETRAINED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(1, 0, marker="*", markersize=11, color=RETRAINED, markeredgewidth=0, zorder=5, clip_on=False)
    points = [Estimate(0.0, nan, nan, 1)]
    for label, group in block.groupby("label", sort=False):
        x, y = estimate(group["share"], group["seed"]), estimate(way.values[group.index], group["seed"])
        if pd.isna(x.mean) or pd.isna(y.mean):
            continue
        points.append(y)
        marker, colour = looks[str(label)]
        axes.errorbar(
            x.mean, y.mean, yerr=bar(y), color=colour, elinewidth=0.8, capsize=1.5,
            marker=marker, markersize=5, markeredgecolor="white", markeredgewidth=0.4, zorder=4,
        )  # fmt: skip
    axes.set_ylim(0, limits(points)[1])
    axes.set_ylabel(f"{way.name}\n(← less is better)")
    _time_axis(axes, float(block["share"].max()))


def _time_axis(axes: Axes, longest: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(FASTEST / 1.5, max(1.6, 1.6 * longest))
    axes.xaxis.set_major_locator(LogLocator(10, numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"≤{value:g}" if value == FASTEST else f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, color=style.PALE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("time, as a share of retraining (← less is better)")


def _explain(figure: Figure, looks: dict[str, Look], doubtful: set[str], sheet: Sheet) -> None:
    handles = [Line2D([], [], linestyle="none", marker="*", markersize=9, color=RETRAINED, label="retraining")]
    for label, (marker, colour) in looks.items():
        said = f"{label} †" if label in doubtful else label
        handles.append(Line2D([], [], linestyle="none", marker=marker, color=colour, label=said))
    note = f"{NOTE} † A sanity gate failed." if doubtful else NOTE
    legend = figure.legend(handles=handles, title=sheet.wrapped(note), loc="outside lower center", ncols=sheet.columns)
    legend.get_title().set(color=style.GREY, fontsize=style.SMALL)
    sheet.headed(figure, TITLE, "")
