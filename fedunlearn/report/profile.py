"""Where the time of a run and of its rounds went (`engine.profile=true`): tables for the screen and a figure.

They read `profile` in a run's summary, seconds per round by stage and part (the parts: docs/scaling.md), and `spent`.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from fedunlearn.report import style
from fedunlearn.report.runs import Run, known

COLOURS = (*style.METHOD_COLOURS, style.GREY, style.PALE)
LEAST = 0.005  # seconds of an audit that is worth a line
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


def whole(run: Run) -> Table | None:
    """Seconds of the whole run by part, and of its audits by name; None if the run was not profiled."""
    parts = known(run.summary.spent.get("run", {}))
    if not parts:
        return None
    shown = Table("Part", "Seconds", title="Where the run's time went", title_justify="left")
    shown.columns[1].justify = "right"
    total = sum(parts.values())
    for part, seconds in parts.items():
        shown.add_row(part, _cell(seconds, total))
        for name, each in _audits(run) if part == "audits" else ():
            shown.add_row(f"  {name}", f"{each:.3f}      ", style="dim")
    shown.add_row("all", f"{total:.3f}      ", style="bold")
    return shown


def _audits(run: Run) -> list[tuple[str, float]]:
    """The audits and their seconds of all workers together, the longest first; those of no time are left out."""
    spent = known(run.summary.spent.get("audits", {}))
    return sorted(((name, each) for name, each in spent.items() if each >= LEAST), key=lambda pair: -pair[1])


def figure(run: Run) -> Figure | None:
    """A bar for every stage, divided among the parts, and one for each part of the whole run and each audit.

    None if the run was not profiled.
    """
    profile = {stage: known(parts) for stage, parts in run.summary.profile.items()}
    if not profile:
        return None
    bars = _of_the_run(run)
    heights = [0.9 + 0.35 * len(profile), 0.9 + 0.18 * len(bars)][: 2 if bars else 1]
    drawn = style.canvas(sum(heights))
    panels = drawn.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    axes: Axes = panels[0]
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
    if bars:
        _draw_run(panels[1], bars)
    style.headed(drawn, "Where the time went", "")
    return drawn


def _of_the_run(run: Run) -> list[tuple[str, float, bool]]:
    """(name, seconds, is it an audit?) for each bar of the whole run, audits below all of them."""
    bars: list[tuple[str, float, bool]] = []
    for part, seconds in known(run.summary.spent.get("run", {})).items():
        bars.append((part, seconds, False))
        bars += [(name, each, True) for name, each in _audits(run)] if part == "audits" else []
    return bars


def _draw_run(axes: Axes, bars: list[tuple[str, float, bool]]) -> None:
    names, seconds, audits = zip(*bars, strict=True)
    colours = [style.PALE if audit else COLOURS[0] for audit in audits]
    axes.barh(range(len(bars)), seconds, height=0.7, color=colours)
    axes.set_yticks(
        range(len(bars)), [f"- {name}" if audit else name for name, audit in zip(names, audits, strict=True)]
    )
    axes.invert_yaxis()
    axes.set_xlabel("seconds of the whole run; pale: audits, added up over models and workers")


def _cell(seconds: float, total: float) -> str:
    return f"{seconds:.3f} {seconds / total if total else 0.0:4.0%}"
