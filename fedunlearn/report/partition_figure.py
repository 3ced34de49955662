"""Which client holds how much of which class, and how much of it is to be forgotten; for ten clients or thousands."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedunlearn.report import style
from fedunlearn.report.run_figures import headline
from fedunlearn.report.runs import Run
from fedunlearn.report.style import UNLEARNED

FEW_CLIENTS = 25  # up to so many clients, each has a row with its number; more are sorted
GROUPS = 200  # at most so many rows; beyond, a row is the mean of neighbouring clients
FEW_CLASSES = 15  # up to so many classes, each has its name and, if the clients are few, its counts


def partition(run: Run) -> Figure | None:
    """Samples by client and class, the forgotten classes framed; beside it the samples to forget, by client."""
    counts = np.array(run.get("partition", "counts") or [], dtype=float)
    if counts.ndim != 2 or not counts.size:
        return None
    forget = np.array(run.get("partition", "forget") or np.zeros(len(counts)), dtype=float)
    few = len(counts) <= FEW_CLIENTS
    figure = style.canvas(1.6 + 0.17 * max(len(counts), 6) if few else 4.2)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3.2, 1])
    order = np.arange(len(counts)) if few else sorted_clients(counts, forget)
    _holdings(figure, left, counts[order], few)
    _classes(left, [str(name) for name in run.get("class_names") or range(counts.shape[1])], run.get("forget_classes") or [])
    _to_forget(right, forget[order], few)
    _clients(left, forget, few)
    style.headed(figure, headline(run), _note(counts, forget))
    return figure


def sorted_clients(counts: np.ndarray, forget: np.ndarray) -> np.ndarray:
    """Client numbers, those with most to forget first, and among equals those with the same main class together."""
    return np.lexsort((counts.argmax(axis=1), -forget))


def grouped(counts: np.ndarray, groups: int) -> np.ndarray:
    """Means of neighbouring rows of `counts` [clients, classes], at most `groups` of them, of nearly equal size."""
    return np.stack([part.mean(axis=0) for part in np.array_split(counts, min(groups, len(counts)))])


def _holdings(figure: Figure, axes: Axes, counts: np.ndarray, few: bool) -> None:
    clients, classes = counts.shape
    shown = grouped(counts, GROUPS)
    norm = LogNorm(1, max(2.0, float(shown.max())), clip=True)
    image = axes.imshow(
        np.ma.masked_less_equal(shown, 0), norm=norm, cmap="cividis_r", aspect="auto", interpolation="nearest",
        extent=(-0.5, classes - 0.5, clients - 0.5, -0.5),
    )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, location="left", fraction=0.05, pad=0.03, aspect=30)
    bar.set_label("samples (white: none)")
    bar.outline.set_linewidth(0.5)
    bar.ax.minorticks_off()
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if few and classes <= FEW_CLASSES:
        for (client, label), count in np.ndenumerate(counts):
            ink = "white" if norm(count) > 0.55 else "black"
            axes.text(label, client, f"{count:.0f}" if count else "", ha="center", va="center", color=ink, fontsize=style.SMALL)


def _classes(axes: Axes, names: list[str], forgotten: list[int]) -> None:
    ticks = list(range(len(names))) if len(names) <= FEW_CLASSES else forgotten
    axes.set_xticks(ticks, [names[c] for c in ticks], rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    for tick, label in zip(axes.get_xticklabels(), ticks, strict=True):
        if label in forgotten:
            tick.set(color=UNLEARNED, fontweight="bold")
    height = axes.get_ylim()[0] + 0.5
    for label in forgotten:
        frame = Rectangle((label - 0.5, -0.5), 1, height, fill=False, edgecolor=UNLEARNED, linewidth=1.5, clip_on=False)
        axes.add_patch(frame)
    axes.set_xlabel("class" if len(names) <= FEW_CLASSES else f"{len(names)} classes (named: to be forgotten)")


def _clients(axes: Axes, forget: np.ndarray, few: bool) -> None:
    axes.spines[:].set_visible(False)
    if not few:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylabel(f"{len(forget):,} clients, most to forget first")
        return
    axes.set_yticks(range(len(forget)))
    axes.set_ylabel("client")
    for tick, amount in zip(axes.get_yticklabels(), forget, strict=True):
        tick.set(color=UNLEARNED if amount else "black", fontweight="bold" if amount else "normal")


def _to_forget(axes: Axes, forget: np.ndarray, few: bool) -> None:
    places = np.arange(len(forget))
    if few:
        axes.barh(places, forget, height=0.7, facecolor="#F5C6A5", edgecolor=UNLEARNED, hatch="////", linewidth=0.6)
        for place, amount in zip(places, forget, strict=True):
            axes.text(amount, place, f" {amount:,.0f}" if amount else "", va="center", fontsize=style.SMALL)
    else:
        axes.fill_betweenx(places, forget, step="mid", facecolor="#F5C6A5", edgecolor=UNLEARNED, hatch="////", linewidth=0.6)
    axes.set_xlim(0, max(1.0, 1.25 * forget.max()))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_title("samples to forget")
    axes.tick_params(axis="y", length=0, labelleft=False)


def _note(counts: np.ndarray, forget: np.ndarray) -> str:
    said = f"{int((forget > 0).sum()):,} of {len(forget):,} clients hold samples to forget: {forget.sum():,.0f} of {counts.sum():,.0f}."
    size = -(-len(counts) // GROUPS)
    return said if size == 1 else f"{said} A row is the mean of about {size} clients."
