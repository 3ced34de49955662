"""What the three models answer: to some forgotten samples, to each class, and to each client's own samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedunlearn.report import exhibits, style
from fedunlearn.report.run_figures import class_names, headline
from fedunlearn.report.runs import Run
from fedunlearn.report.style import ORIGINAL, RETRAINED, SMALL, UNLEARNED, WIDE, Sheet

COLOURS = {"original": ORIGINAL, "retrained": RETRAINED, "unlearned": UNLEARNED}
MARKS = {"original": "o", "retrained": "s", "unlearned": "D"}
FEW_CLASSES = 12  # up to so many classes, each has its name and its counts
FEW_CLIENTS = 40  # up to so many clients, each has its place; of more, accuracies are shown in order
LONGEST = 11  # letters of a class's name below a picture
EXAMPLES_NOTE = (
    "Of each sample: its class, then what the models answer and how sure they are (bold: right).\n"
    "Black: the original model; blue: a retrained one; orange: the unlearned one."
)
CONFUSION_NOTE = (
    "Per cent of each class's test samples (a row) that get each answer (a column). Forgotten classes: orange."
)
CLIENTS_NOTE = (
    "Accuracy on each client's own training samples that stay. Below: the share of the samples to forget that it held."
)


def examples(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """Some forgotten samples, each with its class and what every model says of it, from `exhibits/examples.json`."""
    said = exhibits.read(run, "examples")
    pictures = said.get("original", {}).get("pixels")
    if not pictures:
        return None
    shape = tuple(int(side) for side in said["original"]["shape"])
    images = np.array(pictures, dtype=np.uint8).reshape(shape).transpose(0, 2, 3, 1)
    across = 3 if sheet.stacked else 6
    lines = -(-len(images) // across)
    names = class_names(run, 1 + max(max(found["label"] + found["answer"]) for found in said.values()))
    figure = sheet.canvas(0.7 + 1.75 * lines)
    for number, axes in enumerate(figure.subplots(lines, across, squeeze=False).flat):
        axes.set_axis_off()
        if number < len(images):
            _example(axes, images[number], number, said, names)
    sheet.headed(figure, headline(run), EXAMPLES_NOTE)
    return figure


def _example(axes: Axes, image: np.ndarray, number: int, said: dict[str, Any], names: list[str]) -> None:
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.shape[2] == 1 else {}
    axes.imshow(image[:, :, 0] if grey else image[:, :, :3], interpolation="nearest", **grey)
    label = said["original"]["label"][number]
    axes.set_title(short_name(names[label]), loc="center", fontweight="bold", fontsize=SMALL + 0.5, pad=2)
    for line, (model, found) in enumerate(said.items()):
        text = f"{short_name(names[found['answer'][number]])} {100 * found['sure'][number]:.0f} %"
        right = found["answer"][number] == label
        axes.text(
            0.5, -0.05 - 0.13 * line, text, transform=axes.transAxes, ha="center", va="top", fontsize=SMALL,
            color=COLOURS[model], fontweight="bold" if right else "normal",
        )  # fmt: skip
    axes.text(0.5, -0.47, " ", transform=axes.transAxes, fontsize=SMALL)  # room, which the next row keeps off


def short_name(name: str) -> str:
    """A class's name, cut off where it would not fit below a picture."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def confusion(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """The three models' confusion matrices side by side, from `exhibits/confusion.json`."""
    found = exhibits.read(run, "confusion")
    if not found:
        return None
    tables = {model: np.array(each["counts"], dtype=float) for model, each in found.items()}
    classes = round(len(next(iter(tables.values()))) ** 0.5)
    names = class_names(run, classes)
    figure = sheet.canvas(3.0, len(tables))
    for axes, (model, counts) in zip(sheet.panels(figure, len(tables)), tables.items(), strict=True):
        _matrix(axes, counts.reshape(classes, classes), names, list(run.summary.forget_classes))
        axes.set_title(model)
    sheet.headed(figure, headline(run), CONFUSION_NOTE)
    return figure


def _matrix(axes: Axes, counts: np.ndarray, names: list[str], forgotten: list[int]) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap=style.AMOUNTS, vmin=0, vmax=1, interpolation="nearest")
    axes.spines[:].set(visible=True, color=style.PALE)
    axes.tick_params(length=0)
    if len(names) > FEW_CLASSES:
        axes.set(xticks=[], yticks=[])
        for label in forgotten:
            axes.axhline(label, color=UNLEARNED, linewidth=0.4)
        return
    short = [short_name(name) for name in names]
    style.name_columns(axes, short)
    axes.set_yticks(range(len(names)), short)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.1:
            ink = "white" if share > 0.6 else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=ink, fontsize=SMALL)
    for label in forgotten:
        for tick in (axes.get_xticklabels()[label], axes.get_yticklabels()[label]):
            tick.set(color=UNLEARNED, fontweight="bold")


def clients(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """Every client's accuracy under the three models, and its share of what is forgotten."""
    found, held = exhibits.read(run, "client_answers"), run.summary.partition
    if not found or held is None or not held.forget:
        return None
    values = {model: np.array(each["accuracy"], dtype=float) for model, each in found.items()}
    forget = np.array(held.forget, dtype=float)
    share = forget / max(forget.sum(), 1)
    few = len(share) <= FEW_CLIENTS
    order = np.arange(len(share)) if few else np.lexsort((-values["original"], -share))
    figure = sheet.canvas(3.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    for model, each in values.items():
        look: dict[str, Any] = {"color": COLOURS[model], "marker": MARKS[model], "label": model}
        above.plot(each[order], linestyle="none", markersize=4 if few else 1.5, fillstyle="none", clip_on=False, **look)
    above.set_ylabel("accuracy")
    above.set_ylim(min(0.9, max(0.0, np.nanmin(np.stack(list(values.values()))) - 0.05)), 1.0)
    above.grid(True, axis="y", color=style.PALE, linewidth=0.5)
    above.legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=3)
    below.bar(range(len(share)), 100 * share[order], color=UNLEARNED, width=0.7 if few else 1.0)
    below.set_ylabel("% of the\nforget set")
    below.set_xlabel("client" if few else f"{len(share):,} clients, most to forget first")
    if few:
        below.set_xticks(range(len(share)))
    sheet.headed(figure, headline(run), CLIENTS_NOTE)
    return figure
