"""Where a round's time went (`engine.profile=true`): a table for the screen and a figure.

Both read `profile` in a run's summary: seconds per round by stage and part (the parts: docs/scaling.md).
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from fedunlearn.report import style
from fedunlearn.report.runs import Run, known

COLOURS = (*style.METHOD_COLOURS, style.GREY, style.PALE)
HATCHES = ("", "///", "\\\\\\", "...", "xxx", "", "|||")


def table(run: Run) -> Table | None:
    """Seconds per round and shares, a column for every stage; None if the run was not profiled."""
    profile = {stage: known(parts) for stage, parts in run.summary.profile.items()}
    if not profile:
        return None
    shown = Table("Seconds per round", *profile, title="Where the rounds' time went", title_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    totals = {stage: sum(parts.values()) for stage, parts in profile.items()}
    for part in next(iter(profile.values())):
        cells = [_cell(parts.get(part, 0.0), totals[stage]) for stage, parts in profile.items()]
        shown.add_row(part, *cells)
    shown.add_row("all", *(f"{total:.3f}      " for total in totals.values()), style="bold")
    return shown


def figure(run: Run) -> Figure | None:
    """A bar for every stage, divided among the parts; None if the run was not profiled."""
    profile = {stage: known(parts) for stage, parts in run.summary.profile.items()}
    if not profile:
        return None
    drawn = style.canvas(0.9 + 0.35 * len(profile))
    axes: Axes = drawn.subplots()
    for row, parts in enumerate(profile.values()):
        left = 0.0
        for number, (part, seconds) in enumerate(parts.items()):
            bar = axes.barh(row, seconds, left=left, height=0.7, label=part if row == 0 else None)
            bar.patches[0].set(facecolor=COLOURS[number], hatch=HATCHES[number], edgecolor="white", linewidth=0.5)
            left += seconds
    axes.set_yticks(range(len(profile)), list(profile))
    axes.invert_yaxis()
    axes.set_xlabel("seconds per round")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    style.headed(drawn, "Where the rounds' time went", "")
    return drawn


def _cell(seconds: float, total: float) -> str:
    return f"{seconds:.3f} {seconds / total if total else 0.0:4.0%}"
