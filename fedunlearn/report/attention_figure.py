"""Where original, retrained and unlearned model see evidence in some forgotten images."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure

from fedunlearn.report import exhibits
from fedunlearn.report.answers_figure import COLOURS, short_name
from fedunlearn.report.run_figures import class_names, headline
from fedunlearn.report.runs import Run
from fedunlearn.report.style import SMALL, WIDE, Sheet

FOR, AGAINST = "#009E73", "#CC79A7"  # green and pink: no other figure of a run means a model by them
STRONGEST = 0.85  # how much of the image the strongest evidence covers
BLOCKS = {"forgotten": "Evidence for the forgotten class", "predicted": "Evidence for its own answer (below)"}
NOTE = (
    "Forgotten test images. Green: evidence for the class, pink: against it, each map by its own strongest. "
    "Where two maps agree, the models may still know different things."
)
UNMOVED = (
    "The unlearned model's features at the layer of these maps are the original's: only later layers were edited, "
    "and by these maps alone nothing can be said of what it knows."
)


def attention(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """One line per image, from `exhibits/attention.json`: the image, then every model's map, for both logits."""
    found = exhibits.read(run, "attention")
    if not found.get("original", {}).get("pixels"):
        return None
    shape = tuple(int(side) for side in found["original"]["shape"])
    images = np.array(found["original"]["pixels"], dtype=float).reshape(shape).transpose(0, 2, 3, 1) / 255
    names = class_names(run, 1 + max(max(each["label"] + each["answer"]) for each in found.values()))
    across = (2, 1) if sheet.stacked else (1, 2)
    figure = sheet.canvas((0.5 + 1.05 * len(images)) * across[0] + 0.9)
    parts: Any = figure.subfigures(*across, squeeze=False)
    for part, (logit, title) in zip(parts.flat, BLOCKS.items(), strict=True):
        part.suptitle(title, fontsize=SMALL + 1)
        _block(part, images, found, logit, names)
    unmoved = run.values("unlearned").get("attention_layer_change") == 0
    sheet.headed(figure, headline(run), f"{NOTE}\n{UNMOVED}" if unmoved else NOTE)
    return figure


def _block(part: SubFigure, images: np.ndarray, found: dict[str, Any], logit: str, names: list[str]) -> None:
    lines = part.subplots(len(images), 1 + len(found), squeeze=False)
    for number, (line, image) in enumerate(zip(lines, images, strict=True)):
        show_map(line[0], image, None, names[found["original"]["label"][number]])
        for axes, (model, each) in zip(line[1:], found.items(), strict=True):
            maps = np.array(each[logit], dtype=float).reshape(len(images), *(int(side) for side in each["side"]))
            said = names[each["answer"][number]] if logit == "predicted" else ""
            show_map(axes, image, maps[number], said, COLOURS[model])
    for axes, (model, colour) in zip(lines[0][1:], COLOURS.items(), strict=False):
        axes.set_title(model, loc="center", fontsize=SMALL, color=colour, pad=2)


def show_map(
    axes: Axes, image: np.ndarray, evidence: np.ndarray | None, below: str = "", colour: str = "black"
) -> None:
    """The image; in grey and pale below a map, if there is one.

    `image`: [H, W, 1 or 3] within [0, 1]; `evidence`: [h, w] within [-1, 1]; `below`: words, in a colour.
    """
    height, width = image.shape[:2]
    place: dict[str, Any] = {"extent": (0, width, height, 0)}
    colours = image if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)
    if evidence is not None:
        colours = np.repeat(0.6 + 0.4 * colours.mean(axis=2, keepdims=True), 3, axis=2)
    axes.imshow(colours, interpolation="nearest", **place)
    if evidence is not None:
        axes.imshow(_tinted(evidence), interpolation="bilinear", **place)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(short_name(below) or " ", fontsize=SMALL, color=colour, labelpad=1)


def _tinted(evidence: np.ndarray) -> np.ndarray:
    """A map within [-1, 1] as colour and opacity, [h, w, 4]."""
    tint = np.where(evidence[:, :, None] > 0, to_rgb(FOR), to_rgb(AGAINST))
    return np.concatenate([tint, STRONGEST * np.abs(evidence[:, :, None])], axis=2)
