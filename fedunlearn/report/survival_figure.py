"""Findings against the bits of a format: does what was forgotten come back where weights are rounded?"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedunlearn.report import style
from fedunlearn.report.run_figures import headline
from fedunlearn.report.runs import Run
from fedunlearn.report.style import ORIGINAL, RETRAINED, UNLEARNED, WIDE, Sheet

HEIGHT = 2.5  # inches of a panel
NOTE = (
    "Blue: lowest to highest retrained model and their mean; black, dashed: the original; orange: the unlearned model. "
    "All models of a place on the axis went through the same format."
)


def survival(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """Forget and retain accuracy and what is left by the first finding that counts, in each of the run's formats."""
    names = sorted(run.summary.formats, key=_bits, reverse=True)
    formats, audits = [run.at(format) for format in names], _shown(run)
    if len(formats) < 2 or not audits:
        return None
    figure = sheet.canvas(HEIGHT, len(audits))
    for axes, audit in zip(sheet.panels(figure, len(audits)), audits, strict=True):
        _panel(axes, formats, audit)
        axes.set_title(run.finding(audit).label)
    sheet.headed(figure, headline(run), NOTE)
    return figure


def _bits(format: str) -> int:
    """The number in its name: of float32, int8 and nf4 the bits of a weight."""
    return int("".join(filter(str.isdigit, format)) or 0)


def _shown(run: Run) -> list[str]:
    """Forget accuracy, what is left where accuracy does not look, retain accuracy: those that were measured."""
    measured = run.values("unlearned")
    counted = [name for name, finding in run.summary.findings.items() if finding.counted and name in measured]
    return [name for name in (run.present("forget_accuracy"), *counted[:1], "retain_accuracy") if name in measured]


def _panel(axes: Axes, formats: list[Run], audit: str) -> None:
    places = np.arange(len(formats))
    retrained = [run.retrained(audit) for run in formats]
    if all(retrained):
        low, high = ([end(values) for values in retrained] for end in (min, max))
        axes.fill_between(places, low, high, color=RETRAINED, alpha=0.25, linewidth=0)
        axes.plot(places, [np.mean(values) for values in retrained], color=RETRAINED)
    for model, colour, look in (("original", ORIGINAL, "--"), ("unlearned", UNLEARNED, "-o")):
        values = [run.values(model).get(audit, np.nan) for run in formats]
        axes.plot(places, values, look, color=colour, clip_on=False)
    axes.set_xticks(places, [run.format for run in formats])
    axes.yaxis.grid(True, color=style.PALE, linewidth=0.5, zorder=0)
    _at_least(axes, 0.1)


def _at_least(axes: Axes, span: float) -> None:
    """Limits so far apart that noise does not look like an effect."""
    low, high = axes.get_ylim()
    more = max(span - (high - low), 0.0) / 2
    axes.set_ylim(low - more, high + more)
