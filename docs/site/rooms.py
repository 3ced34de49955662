"""The picture of the rooms: which parts of the package stand on which. The order is that which a test enforces."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, GAP = 0.78, 0.06


def order() -> tuple[tuple[str, ...], ...]:
    """The rooms from the ground up, those of a floor together."""
    spec = importlib.util.spec_from_file_location("test_rooms", ROOT / "tests" / "test_rooms.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    floors: tuple[tuple[str, ...], ...] = module.ORDER
    return tuple(floor for floor in floors if floor != ("__main__",))


def picture() -> str:
    """The floors as an SVG, the ground at the bottom."""
    floors = order()
    figure = Figure(figsize=(8, 0.5 * len(floors) + 0.2))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    for height, floor in enumerate(floors):
        width = 1 / len(floor)
        for number, room in enumerate(floor):
            corner = number * width + GAP / 10, height
            axes.add_patch(
                matplotlib.patches.FancyBboxPatch(
                    corner,
                    width - GAP / 5,
                    HEIGHT,
                    boxstyle="round,pad=0,rounding_size=0.01",
                    fc="#e8eef7",
                    ec="#35558a",
                )
            )
            axes.text(
                corner[0] + width / 2 - GAP / 10, height + HEIGHT / 2, room, ha="center", va="center", fontsize=11
            )
    axes.set(xlim=(0, 1), ylim=(-0.05, len(floors)))
    axes.axis("off")
    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "rooms", "svg.fonttype": "none"}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()
