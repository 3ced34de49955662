"""Figures that audits ask for by what they declare (`Finding.drawn`), so that one of another package has them too.

`curves`: lists of equal length, the first of which is what the others are drawn against; their names are the labels.
`strips`: `pixels` (uint8, flat) of `shape` [strips, 1 + n, C, H, W], in each strip first what was looked for and then
what was found, and `right` [strips · n], 1 or 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedunlearn.report import exhibits, style
from fedunlearn.report.run_figures import headline
from fedunlearn.report.runs import Run
from fedunlearn.report.style import ORIGINAL, RETRAINED, UNLEARNED, WIDE, Sheet
from fedunlearn.results.findings import Finding

HEIGHT = 2.6  # inches of a panel
RIGHT, WRONG = "#009E73", "#D55E00"
LOGARITHMIC = 100  # times the least value that the greatest is, from which on an axis is logarithmic
CURVES_NOTE = "Black, dashed: the original; blue: lowest to highest retrained model and their mean; orange: unlearned."
STRIPS_NOTE = "First, what was looked for; then the nearest images. Green, solid: right; orange, dotted: wrong."


def asked_for(run: Run) -> dict[str, Callable[..., Figure | None]]:
    """The figures that the run's audits declare, by the name of the finding, which is to name a file."""
    known = [each for each in run.summary.findings.values() if each.drawn in DRAWINGS and each.name.isidentifier()]
    return {finding.name: partial(DRAWINGS[finding.drawn], finding) for finding in known}


def curves(finding: Finding, run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """A panel for each list but the first, with the original, the range of the retrained and the unlearned model."""
    found = exhibits.every(run, finding.name)
    retrained = [each for model, each in found.items() if model.startswith("retrained")]
    if "unlearned" not in found:
        return None
    across, *names = found["unlearned"]
    shown = [name for name in names if all(name in each for each in found.values())]
    if not shown:
        return None
    figure = sheet.canvas(HEIGHT, len(shown))
    for axes, name in zip(sheet.panels(figure, len(shown)), shown, strict=True):
        _panel(axes, found, retrained, across, name)
    sheet.headed(figure, headline(run), f"{finding.label}: {finding.meaning}.\n{CURVES_NOTE}")
    return figure


def _panel(axes: Axes, found: Mapping[str, Any], retrained: list[Any], across: str, name: str) -> None:
    x = np.array(found["unlearned"][across], dtype=float)
    if retrained:
        values = np.array([each[name] for each in retrained], dtype=float)
        axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=RETRAINED, alpha=0.25, linewidth=0)
        axes.plot(x, values.mean(axis=0), color=RETRAINED)
    # The dashed line last: where both are the same, one sees it on the other.
    for model, colour, line in (("unlearned", UNLEARNED, "-"), ("original", ORIGINAL, "--")):
        if model in found:
            axes.plot(x, found[model][name], line, color=colour)
    if x.min() > 0 and x.max() >= LOGARITHMIC * x.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")  # the usual one writes formulas
        axes.xaxis.set_minor_formatter(lambda value, place: "")
    elif (x == x.round()).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(name)
    axes.set_xlabel(across)
    axes.grid(True, color=style.PALE, linewidth=0.5)


def strips(finding: Finding, run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """Every strip of the original, a retrained and the unlearned model, the models side by side."""
    found = exhibits.read(run, finding.name)
    if not found:
        return None
    lines, across = (max(each["shape"][side] for each in found.values()) for side in (0, 1))
    image = sheet.width / (across if sheet.stacked else across * len(found))
    figure = sheet.canvas(0.95 * lines * image + 0.25, len(found))
    if not sheet.stacked:
        figure.set_figheight(figure.get_figheight() + 0.75)  # for title and note
    parts: Any = figure.subfigures(*((len(found), 1) if sheet.stacked else (1, len(found))), squeeze=False)
    for part, (model, each) in zip(parts.flat, found.items(), strict=True):
        part.suptitle(model, x=0.02, ha="left", fontsize=style.STYLE["axes.titlesize"])
        _strips_of(part.subplots(lines, across, squeeze=False), each)
    sheet.headed(figure, headline(run), f"{finding.label}: {finding.meaning}.\n{STRIPS_NOTE}")
    return figure


def _strips_of(grid: np.ndarray, said: Mapping[str, Any]) -> None:
    shape = tuple(int(side) for side in said["shape"])
    images = np.array(said["pixels"], dtype=np.uint8).reshape(shape).transpose(0, 1, 3, 4, 2)
    right = np.array(said["right"], dtype=int).reshape(shape[0], shape[1] - 1)
    for (line, place), axes in np.ndenumerate(grid):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=place > 0)
        if line >= shape[0] or place >= shape[1]:
            axes.set_axis_off()
            continue
        image = images[line, place]
        grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.shape[2] == 1 else {}
        axes.imshow(image[:, :, 0] if grey else image[:, :, :3], interpolation="nearest", **grey)
        if place:
            fits = right[line, place - 1]
            axes.spines[:].set(color=RIGHT if fits else WRONG, linewidth=1.8, linestyle="-" if fits else ":")


DRAWINGS: Mapping[str, Callable[..., Figure | None]] = {"curves": curves, "strips": strips}
