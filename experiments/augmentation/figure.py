"""The figures: impact profiles, what is left of the class, and some maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.augmentation.looks import NONE, Looks
from experiments.augmentation.page import CALLED, SIX, change, is_sure, names, of, over_seeds
from fedunlearn.audits.grad_cam import scaled
from fedunlearn.data.types import Dataset
from fedunlearn.report import style
from fedunlearn.report.attention_figure import show_map
from fedunlearn.report.statistics import column

FINDINGS = {"unlearned.leak": "AUSUC leak", "unlearned.retain_accuracy": "retain accuracy"}
NOTE = (
    "Points: starting states; bar: their mean, with its 95 % t-interval. Grey: no augmentation. Orange: the interval "
    "of the change from no augmentation leaves out 0."
)
ROW = 0.16  # inches for an augmentation
IMAGES = 4


def profiles(seen: pd.DataFrame) -> Figure:
    """A panel for each measure, with a line for each augmentation."""
    drawn = style.canvas(2 * (0.45 + ROW * len(names(seen))) + 0.7)
    for axes, measure in zip(drawn.subplots(2, 3, sharey=True).flat, SIX, strict=True):
        _lines(axes, seen, measure)
        axes.set_title(CALLED[measure])
    style.headed(drawn, "How far maps of evidence are from those of models without augmentation", NOTE)
    return drawn


def forgetting(frame: pd.DataFrame) -> Figure:
    """For each method, what is left of the class, and what is left of the others."""
    done = frame[frame["status"] == "done"]
    methods = list(dict.fromkeys(done["method"]))
    drawn = style.canvas(2 * (0.5 + ROW * len(names(done))) + 0.7)
    grid = drawn.subplots(2, len(methods), sharey=True, sharex="row", squeeze=False)
    for row, (finding, label) in zip(grid, FINDINGS.items(), strict=True):
        for axes, method in zip(row, methods, strict=True):
            _lines(axes, done[done["method"] == method], finding)
            axes.set_title(f"{method}: {label}")
    style.headed(drawn, "What is left of a class that was learnt and forgotten with augmentation", NOTE)
    return drawn


def maps(found: Sequence[Looks], data: Dataset) -> Figure:
    """Of the first test images of some classes, the maps of one starting state."""
    first = [each for each in found if each.seed == found[0].seed]
    chosen = [int(np.flatnonzero(first[0].labels == label)[0]) for label in range(0, 2 * IMAGES, 2)]
    drawn = style.canvas(0.6 + 0.95 * IMAGES)
    lines = drawn.subplots(IMAGES, 1 + len(first), squeeze=False)
    for line, number in zip(lines, chosen, strict=True):
        image = data.test.inputs["images"][number].permute(1, 2, 0).numpy() / 255
        show_map(line[0], image, None, data.class_names[first[0].labels[number]])
        for axes, each in zip(line[1:], first, strict=True):
            show_map(axes, image, scaled(each.maps[[number]])[0], data.class_names[each.logits[number].argmax()])
    for axes, each in zip(lines[0][1:], first, strict=True):
        axes.set_title(each.augment, loc="center", fontsize=style.SMALL, pad=2)
    note = (
        "Green: evidence for the true class, pink: against it, each map by its own strongest. Below: what is answered."
    )
    style.headed(
        drawn, "Where models that were trained with augmentation see evidence (the first starting state)", note
    )
    return drawn


def _lines(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    """A line for each augmentation: its starting states, their mean and its interval."""
    shown = names(rows)
    for place, augment in enumerate(shown):
        own, mean = column(of(rows, augment), name), over_seeds(of(rows, augment), name)
        sure = augment != NONE and is_sure(change(rows, augment, name))
        colour = style.UNLEARNED if sure else style.GREY if augment == NONE else style.RETRAINED
        axes.plot(own, [place] * len(own), "o", color=colour, alpha=0.4, markersize=3, markeredgewidth=0)
        axes.errorbar(mean.mean, place, xerr=mean.half, fmt="|", color=colour, elinewidth=0.9, markersize=7)
        if augment == NONE:
            axes.axvline(mean.mean, color=style.PALE, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.5, -0.5)
