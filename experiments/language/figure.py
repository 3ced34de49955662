"""The figure: what is left of the author in every format, by method and way of training."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.language.page import FORGET, FORMATS, LORA, SLOW, WHOLE, cells
from experiments.survival.page import at, over_seeds
from fedunlearn.report import style

NOTE = (
    "Points: means over seeds, with 95 % t-intervals. Dashed: the original models. Blue: the retrained ones, which "
    "never saw the author."
)


def formats(rows: pd.DataFrame) -> Figure:
    """A panel for each way of training, with a line for each method."""
    ways = [trained for trained in (WHOLE, SLOW, LORA) if (rows["trained"] == trained).any()]
    drawn = style.canvas(3.2)
    panels = drawn.subplots(1, len(ways), sharey=True, squeeze=False)[0]
    for axes, trained in zip(panels, ways, strict=True):
        _panel(axes, rows[(rows["trained"] == trained) & (rows["called"] != "retrain")], rows)
        axes.set_title(trained)
    panels[0].set_ylabel("forget accuracy")
    panels[0].legend(loc="lower left", fontsize=style.SMALL)
    style.headed(drawn, "What is left of a forgotten author as the model ships", NOTE)
    return drawn


def _panel(axes: Axes, group: pd.DataFrame, rows: pd.DataFrame) -> None:
    places = range(len(FORMATS))
    for model, colour, line in (("original", style.GREY, "--"), ("retrained", style.RETRAINED, "-")):
        axes.plot(
            places, [over_seeds(at(rows, name), f"{model}.{FORGET}").mean for name in FORMATS], line, color=colour
        )
    for number, ((called, _), cell) in enumerate(cells(group)):
        values = [over_seeds(at(cell, name), f"unlearned.{FORGET}") for name in FORMATS]
        shifted = [place + 0.08 * (number - 2) for place in places]
        axes.errorbar(
            shifted,
            [each.mean for each in values],
            yerr=[each.half for each in values],
            fmt="o-",
            markersize=3,
            linewidth=0.8,
            elinewidth=0.6,
            label=called,
        )
    axes.set_xticks(places, FORMATS)
    axes.set_ylim(-0.05, 1.08)
