"""The features of original, retrained and unlearned model in two dimensions, with the forgotten classes on top."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedunlearn.report import style
from fedunlearn.report.run_figures import headline
from fedunlearn.report.runs import Run
from fedunlearn.report.style import UNLEARNED, WIDE, Sheet

PANELS = {"original": "original", "retrained_0": "retrained", "unlearned": "unlearned"}
FEW_CLASSES = 12  # up to so many retain classes, each has its name on the map
MARGIN = 0.08  # of the width, so that names stay inside
NOTE = (
    "Test samples; crosses: forgotten classes; dots: the others, named at their middle. Each model has its own map."
    "\nOnly who is near whom can be read from it: no direction, no size, no distance between far clusters."
)


def feature_map(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """One panel per model, from `exhibits/feature_map.json`."""
    maps, forgotten = read(run), list(run.summary.forget_classes)
    if not maps or not forgotten:
        return None
    names = list(run.summary.class_names)
    figure = sheet.canvas(2.9, len(maps))
    for axes, (model, found) in zip(sheet.panels(figure, len(maps)), maps.items(), strict=True):
        _panel(axes, np.array([found["x"], found["y"]], dtype=float), np.array(found["label"]), forgotten, names)
        axes.set_title(PANELS[model])
    sheet.headed(figure, headline(run), NOTE)
    return figure


def read(run: Run) -> dict[str, Any]:
    """The maps by model, in the order of the panels; empty where there is no such file, or none that can be read."""
    try:
        found = json.loads((run.folder / "exhibits" / "feature_map.json").read_text(encoding="utf-8"))
        return {model: found[model] for model in PANELS if model in found}
    except (OSError, ValueError, TypeError):
        return {}


def _panel(axes: Axes, places: np.ndarray, labels: np.ndarray, forgotten: list[int], names: list[str]) -> None:
    crossed = np.isin(labels, forgotten)
    axes.plot(*places[:, ~crossed], ".", color=style.GREY, alpha=0.5, markersize=2.5, markeredgewidth=0)
    axes.plot(*places[:, crossed], "x", color=UNLEARNED, markersize=3, markeredgewidth=0.8)
    kept = np.setdiff1d(labels, forgotten)
    for label in kept if len(kept) <= FEW_CLASSES else ():
        x, y = np.median(places[:, labels == label], axis=1)
        name = names[label] if label < len(names) else str(label)
        axes.text(x, y, name, ha="center", va="center", fontweight="bold")
    axes.set(xticks=[], yticks=[])
    axes.margins(MARGIN)
    axes.spines[:].set(visible=True, color=style.PALE)
