"""How figures look and how they are saved: sized for a paper's column, colour-blind safe, the same bytes every time.

Colours are those of Okabe and Ito (2008), https://jfly.uni-koeln.de/color/; every colour comes with a marker, a
hatch, a line style or a label of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure

from fedunlearn.files import replacing
from fedunlearn.report.legible import families

WIDTH = 7.0  # inches: both columns of a paper
ORIGINAL, RETRAINED, UNLEARNED = "#000000", "#0072B2", "#D55E00"
# Black and blue are the references'. The first five are Okabe and Ito's; each of the others is as far as can be, in
# CIELAB, from those before it.
METHOD_COLOURS = (
    *("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#0000FF", "#00CC00", "#FF33FF", "#FF0066", "#0066FF"),
    *("#666600", "#660066", "#993333", "#99CC66", "#CC9966", "#FF0000", "#330099", "#CCCC00", "#9999FF", "#CC0099"),
    *("#006600", "#FF99FF", "#00CC66", "#66CCCC"),
)
METHOD_MARKERS = "osD^vPX<>phd"
POINT, RING = 5.0, 2.4  # size of a marker, and by how much one that lies below others is larger
NARROW = "narrow"  # the folder of figures for phones, beside the others
GREY, PALE = "#595959", "#dcdcdc"
AMOUNTS = LinearSegmentedColormap.from_list(
    "amounts", ["#ffffff", "#8fbfdd", "#0072B2", "#002b45"]
)  # one hue, by lightness
SMALL = 7.0  # points: the smallest type on a figure

STYLE: dict[Any, Any] = {
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


UNDATED: dict[str, Any] = {"Date": None, "Creator": None}


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save inside this, whatever the user's own matplotlib settings are; they are as before afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**STYLE, "font.family": list(families())})
        yield


@dataclass(frozen=True)
class Sheet:
    """What a figure is drawn on: `width` in inches, panels one below another (`stacked`), with a title or without."""

    width: float = WIDTH
    stacked: bool = False
    titled: bool = True

    def canvas(self, height: float, panels: int = 1) -> Figure:
        """An empty figure that arranges itself; `height` in inches, of one line of panels, where there are `panels`."""
        figure = Figure(figsize=(self.width, height * (panels if self.stacked else 1)), layout="constrained")
        FigureCanvasAgg(figure)
        return figure

    def panels(self, figure: Figure | SubFigure, count: int, **more: Any) -> list[Axes]:
        """So many panels, side by side or one below another."""
        shape = (count, 1) if self.stacked else (1, count)
        return list(figure.subplots(*shape, squeeze=False, **more).flat)

    def headed(self, figure: Figure, title: str, note: str) -> None:
        """A title above the figure and a small grey note below it, both from the left edge."""
        if self.titled:
            figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        if note:
            figure.supxlabel(self.wrapped(note), x=0.01, ha="left", fontsize=SMALL, color=GREY)

    def wrapped(self, text: str) -> str:
        """The lines of a text, broken where they would not fit."""
        fitting = int(17 * self.width)
        return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, fitting) or [""])

    @property
    def columns(self) -> int:
        """Of a legend."""
        return 2 if self.stacked else 4


WIDE = Sheet()
PHONE = Sheet(3.6, stacked=True, titled=False)
UNTITLED = Sheet(titled=False)
canvas, headed = WIDE.canvas, WIDE.headed  # of figures that have one form alone


def replace(figure: Figure | None, folder: Path, name: str) -> list[Path]:
    """`name.png` (200 dpi), `name.svg` and `name.pdf` in `folder`, each replaced whole, without dates or versions.

    Where there is no figure, all are removed, because they would show something else; returns the paths written.
    """
    png, svg, pdf = (folder / f"{name}.{kind}" for kind in ("png", "svg", "pdf"))
    if figure is None:
        for path in (png, svg, pdf):
            path.unlink(missing_ok=True)
        return []
    figure.set_dpi(200)
    with replacing(png) as temporary:  # canvases rather than savefig, which draws everything twice
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # it is arranged
    with replacing(svg) as temporary:
        FigureCanvasSVG(figure).print_svg(temporary, metadata=UNDATED)  # type: ignore[no-untyped-call]
    with replacing(pdf) as temporary:
        undated = {**UNDATED, "CreationDate": None, "Producer": None}
        del undated["Date"]
        FigureCanvasPdf(figure).print_pdf(temporary, metadata=undated)  # type: ignore[no-untyped-call]
    return [png, svg, pdf]


def replace_narrow(figure: Figure | None, folder: Path, name: str) -> list[Path]:
    """`narrow/name.svg` in `folder`, the figure as a page shows it on a phone; removed where there is none."""
    path = folder / NARROW / f"{name}.svg"
    if figure is None:
        path.unlink(missing_ok=True)
        return []
    with replacing(path) as temporary:
        FigureCanvasSVG(figure).print_svg(temporary, metadata=UNDATED)  # type: ignore[no-untyped-call]
    return [path]


def sizes(places: Sequence[tuple[float, float]], spans: tuple[float, float]) -> list[float]:
    """A marker's size for each place (x, y): the larger, the more of those after it lie on top of it.

    `spans`: of the two axes. So each of several methods with the same numbers is seen, as a ring around the next.
    """
    near = [2.5 * span / 100 for span in spans]
    return [
        POINT + RING * sum(abs(x - u) < near[0] and abs(y - v) < near[1] for u, v in places[number + 1 :])
        for number, (x, y) in enumerate(places)
    ]


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
