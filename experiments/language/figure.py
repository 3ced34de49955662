"""The figure: what is left of the author in every format, by method and way of training."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.language.page import FORGET, FORMATS, LORA, SLOW, WHOLE, cells, of_fictions
from experiments.survival.page import at, over_seeds
from fedunlearn.report import style
from fedunlearn.report.statistics import column

NOTE = (
    "Lines: means over seeds; small points: seeds. Dashed: the original models. Blue: the retrained ones, which never "
    "saw the author."
)
COLOURS = {  # none of them the blue of retrained models; told apart by people who see few colours (Okabe and Ito)
    "GA": "#d55e00",
    "GA + GDR": "#e69f00",
    "GA + KLR": "#a6761d",
    "NPO": "#cc79a7",
    "NPO + GDR": "#009e73",
    "NPO + KLR": "#7570b3",
    "finetune": "#000000",
}


def formats(rows: pd.DataFrame) -> Figure:
    """A panel for each way of training, with a line for each method."""
    rows = of_fictions(rows)
    ways = [trained for trained in (WHOLE, SLOW, LORA) if (rows["trained"] == trained).any()]
    drawn = style.canvas(3.2)
    panels = drawn.subplots(1, len(ways), sharey=True, squeeze=False)[0]
    for axes, trained in zip(panels, ways, strict=True):
        _panel(axes, rows[(rows["trained"] == trained) & (rows["called"] != "retrain")], rows)
        axes.set_title(trained)
    panels[0].set_ylabel("forget accuracy")
    named = max((axes.get_legend_handles_labels() for axes in panels), key=lambda each: len(each[1]))
    panels[len(ways) // 2].legend(*named, loc="lower left", fontsize=style.SMALL, ncols=2)
    style.headed(drawn, "What is left of a forgotten author as the model ships", NOTE)
    return drawn


def _panel(axes: Axes, group: pd.DataFrame, rows: pd.DataFrame) -> None:
    places = range(len(FORMATS))
    for model, colour, line in (("original", style.GREY, "--"), ("retrained", style.RETRAINED, "-")):
        axes.plot(
            places, [over_seeds(at(rows, name), f"{model}.{FORGET}").mean for name in FORMATS], line, color=colour
        )
    for (called, _), cell in cells(group):
        values = [column(at(cell, name), f"unlearned.{FORGET}") for name in FORMATS]
        colour, shift = COLOURS[called], 0.08 * (list(COLOURS).index(called) - 3)
        axes.plot([place + shift for place in places], [each.mean() for each in values], color=colour, label=called)
        for place, each in zip(places, values, strict=True):
            axes.plot([place + shift] * len(each), each, "o", color=colour, alpha=0.5, markersize=3, markeredgewidth=0)
    axes.set_xticks(places, FORMATS)
    axes.set_ylim(-0.05, 1.08)
