"""The figure: how well every method's models still verify the individual, beside strangers and retrained models."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from fedunlearn.report import style
from fedunlearn.report.statistics import column

NOTE = (
    "Points: an individual and a seed. Grey: from the stranger that retrained models verify worst to the one that they "
    "verify best, means over cells. Left: TAR at FAR 1 %. Right: pairs of a forgotten image and one of the retained "
    "individual that the model confuses it with most, accepted at the threshold where 1 % of impostors are."
)
ROW = 0.2  # inches for a method
SHOWN = {"forget_tar_1": "pairs of the forgotten individual", "false_match_any": "false matches with another one"}


def drawn(methods: pd.DataFrame) -> Figure:
    """A panel for each number, with a line for each method."""
    cells = methods.drop_duplicates(["forget", "seed"])
    rows = [("(original)", cells, "original"), ("(retrained)", cells, "retrained")]
    rows += [(str(name), group, "unlearned") for name, group in methods.groupby("method", sort=False)]
    figure = style.canvas(1.2 + ROW * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    least, most = (column(cells, f"retrained.unseen_tar_{end}").mean() for end in ("least", "most"))
    left.axvspan(least, most, color=style.PALE, zorder=0)
    colours = {"original": style.ORIGINAL, "retrained": style.RETRAINED, "unlearned": style.UNLEARNED}
    for axes, (name, title) in zip((left, right), SHOWN.items(), strict=True):
        for place, (_, group, model) in enumerate(rows):
            found = column(group, f"{model}.{name}")
            axes.plot(found, [place] * len(found), "o", color=colours[model], alpha=0.4, markeredgewidth=0)
            axes.plot(found.mean(), place, "|", color=colours[model], markersize=9)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5), xlabel="share accepted", title=title)
    left.set_yticks(range(len(rows)), [label for label, *_ in rows])
    style.headed(figure, "What is left of a forgotten individual, and whom it is taken for", NOTE)
    return figure
