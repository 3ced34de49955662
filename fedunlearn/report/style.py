"""How figures look and how they are saved: sized for a paper's column, colour-blind safe, the same bytes every time.

Colours are those of Okabe and Ito (2008), https://jfly.uni-koeln.de/color/; every colour comes with a marker, a
hatch, a line style or a label of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fedunlearn.files import replacing

WIDTH = 7.0  # inches: both columns of a paper
ORIGINAL, RETRAINED, UNLEARNED = "#000000", "#0072B2", "#D55E00"
METHOD_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # black and blue are the references'
METHOD_MARKERS = "osD^vPX<>phd"  # as many as share no factor with the colours, so pairs repeat after 60 methods
GREY, PALE = "#595959", "#dcdcdc"
AMOUNTS = LinearSegmentedColormap.from_list(
    "amounts", ["#ffffff", "#8fbfdd", "#0072B2", "#002b45"]
)  # one hue, by lightness
SMALL = 7.0  # points: the smallest type on a figure

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called $
    "svg.hashsalt": "fedunlearn",
    "svg.fonttype": "path",
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save inside this, whatever the user's own matplotlib settings are; they are as before afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def canvas(height: float) -> Figure:
    """An empty figure of the full width, `height` inches tall, that arranges itself."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def headed(figure: Figure, title: str, note: str) -> None:
    """A title above the figure and a small grey note below it, both from the left edge."""
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=SMALL, color=GREY)


def replace(figure: Figure | None, folder: Path, name: str) -> list[Path]:
    """`name.png` (200 dpi) and `name.svg` in `folder`, each replaced whole, without dates or versions inside.

    Where there is no figure, both are removed, because they would show something else; returns the paths written.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    if figure is None:
        png.unlink(missing_ok=True)
        svg.unlink(missing_ok=True)
        return []
    figure.set_dpi(200)
    with replacing(png) as temporary:  # canvases rather than savefig, which draws everything twice
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # it is arranged
    with replacing(svg) as temporary:
        undated = {"Date": None, "Creator": None}
        FigureCanvasSVG(figure).print_svg(temporary, metadata=undated)  # type: ignore[no-untyped-call]
    return [png, svg]


def name_columns(axes: Axes, names: Sequence[str]) -> None:
    """Name the columns 0, 1, ... below `axes`, aslant if a name is too long to stand beside the next."""
    slant: dict[str, Any] = (
        {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 4 else {}
    )
    axes.set_xticks(range(len(names)), names, **slant)


def label_ends(axes: Axes, height: float, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write (y, text, colour) to the right of `axes`, moved apart where they would overlap, each tied to its y.

    `height`: about how tall the axes will be, in inches (known for sure only once the figure has been arranged).
    """
    low, high = axes.get_ylim()
    labels = sorted(labels)
    places = apart([(y - low) / (high - low) for y, _, _ in labels], 1.3 * SMALL / 72 / height)
    for place, (y, text, colour) in zip(places, labels, strict=True):
        tie = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 0}
        axes.annotate(
            text, (1, y), (1.06, place), axes.get_yaxis_transform(), "axes fraction",
            color=colour, fontsize=SMALL, va="center", annotation_clip=False, arrowprops=tie,
        )  # fmt: skip


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending `places` moved until neighbours are `gap` apart; within [0, 1] where so many fit."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else max(place, 0.0))
    ceiling = max(1.0, gap * (len(moved) - 1))
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved
