"""Which client holds how much of which class, and how much of it is to be forgotten; for ten clients or thousands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedunlearn.report import style
from fedunlearn.report.run_figures import class_names, headline
from fedunlearn.report.runs import Run
from fedunlearn.report.style import UNLEARNED, WIDE, Sheet

FEW_CLIENTS = 25  # up to so many clients, each has a row with its number; more are sorted
GROUPS = 200  # at most so many rows; beyond, a row is the mean of neighbouring clients
FEW_CLASSES = 15  # up to so many classes, each has its name and, if the clients are few, its counts
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,g}")


def partition(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """Samples by client and class, the forgotten classes framed; beside it the samples to forget, by client."""
    held = run.summary.partition
    if held is None or not held.counts:
        return None
    counts = np.array(held.counts, dtype=float)
    forget = np.array(held.forget or np.zeros(len(counts)), dtype=float)
    few = len(counts) <= FEW_CLIENTS
    figure = sheet.canvas(1.6 + 0.17 * max(len(counts), 6) if few else 4.2)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3.2, 1])
    order = np.arange(len(counts)) if few else sorted_clients(counts, forget)
    _holdings(figure, left, counts[order], few, not sheet.stacked)
    _classes(left, class_names(run, counts.shape[1]), run.summary.forget_classes)
    _to_forget(right, forget[order], few)
    _clients(left, forget, few)
    sheet.headed(figure, headline(run), _note(counts, forget))
    return figure


def sorted_clients(counts: np.ndarray, forget: np.ndarray) -> np.ndarray:
    """Client numbers, those with most to forget first, and among equals those with the same main class together."""
    return np.lexsort((counts.argmax(axis=1), -forget))


def grouped(counts: np.ndarray, groups: int) -> np.ndarray:
    """Means of neighbouring rows of `counts` [clients, classes], at most `groups` of them, of nearly equal size."""
    return np.stack([part.mean(axis=0) for part in np.array_split(counts, min(groups, len(counts)))])


def _holdings(figure: Figure, axes: Axes, counts: np.ndarray, few: bool, numbered: bool) -> None:
    clients, classes = counts.shape
    shown = grouped(counts, GROUPS)
    least, most = float(shown[shown > 0].min(initial=1)), max(2.0, float(shown.max()))
    norm = LogNorm(least / 4, most)  # so that the least is still told from white
    image = axes.imshow(
        np.ma.masked_less_equal(shown, 0), norm=norm, cmap=style.AMOUNTS, aspect="auto", interpolation="nearest",
        extent=(-0.5, classes - 0.5, clients - 0.5, -0.5),
    )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, location="left", fraction=0.05, pad=0.03, aspect=30)
    bar.set_label("samples (white: none)")
    bar.outline.set_linewidth(0.5)
    bar.ax.minorticks_off()
    bar.ax.set_ylim(least, most)
    bar.ax.yaxis.set_major_formatter(THOUSANDS)
    if few and numbered and classes <= FEW_CLASSES:
        for (client, label), count in np.ndenumerate(counts):
            ink = "white" if norm(count) > 0.6 else "black"
            text = f"{count:.0f}" if count else ""
            axes.text(label, client, text, ha="center", va="center", color=ink, fontsize=style.SMALL)


def _classes(axes: Axes, names: list[str], forgotten: Sequence[int]) -> None:
    """Names below the columns if there is room, and a frame and a mark for each class to be forgotten."""
    few = len(names) <= FEW_CLASSES
    if few:
        style.name_columns(axes, names)
    else:
        axes.set_xticks([])
    axes.tick_params(axis="x", length=0)
    for label in forgotten:
        _mark(axes, label, few)
    framed = " (framed: to be forgotten)" if forgotten else ""
    axes.set_xlabel(f"class{framed}" if few else f"{len(names)} classes{framed}")


def _mark(axes: Axes, label: int, few: bool) -> None:
    top, width = axes.get_xaxis_transform(), 1.5 if few else 0.6
    frame: dict[str, Any] = {"fill": False, "edgecolor": UNLEARNED, "linewidth": width, "clip_on": False, "zorder": 3}
    axes.add_patch(Rectangle((label - 0.5, 0), 1, 1, transform=top, **frame))
    axes.plot(label, 1.02, marker="v", color=UNLEARNED, transform=top, clip_on=False)
    if few:
        axes.get_xticklabels()[label].set(color=UNLEARNED, fontweight="bold")


def _clients(axes: Axes, forget: np.ndarray, few: bool) -> None:
    axes.spines[:].set(visible=True, color=style.PALE)
    if not few:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylabel(f"{len(forget):,} clients, most to forget first")
        return
    axes.set_yticks(range(len(forget)))
    axes.set_ylabel("client")
    for tick, amount in zip(axes.get_yticklabels(), forget, strict=True):
        tick.set(color=UNLEARNED if amount else "black", fontweight="bold" if amount else "normal")


def _to_forget(axes: Axes, forget: np.ndarray, few: bool) -> None:
    places = range(len(forget))
    hatched: dict[str, Any] = {"facecolor": "#F5C6A5", "edgecolor": UNLEARNED, "hatch": "////", "linewidth": 0.6}
    if few:
        axes.barh(places, forget, height=0.7, **hatched)
        for place, amount in zip(places, forget, strict=True):
            axes.text(amount, place, f" {amount:,.0f}" if amount else "", va="center", fontsize=style.SMALL)
    else:
        axes.fill_betweenx(places, forget, step="mid", **hatched)
    axes.set_xlim(0, (1.4 if few else 1.05) * max(1.0, forget.max()))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.set_title("samples to forget")
    axes.tick_params(axis="y", length=0, labelleft=False)


def _note(counts: np.ndarray, forget: np.ndarray) -> str:
    holders, clients = f"{(forget > 0).sum():,}", f"{len(forget):,}"
    said = f"{holders} of {clients} clients hold samples to forget: {forget.sum():,.0f} of {counts.sum():,.0f}."
    size = -(-len(counts) // GROUPS)
    return said if size == 1 else f"{said} A row is the mean of about {size} clients."
