"""A run's feature maps as small SVGs, three kilobytes each: a page can hold hundreds of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from fedunlearn.report.feature_map_figure import FEW_CLASSES

SIDE, EDGE = 300, 12
CROSS = "l6 6m0-6l-6 6"  # from its upper left corner


def feature_map(found: dict[str, Any], forgotten: Sequence[int], names: Sequence[str], what: str) -> Markup:
    """One model's map: `found` has `x`, `y` and `label` of every sample; classes `forgotten` are crosses.

    `what` says to those who cannot see it what is shown. Raises ValueError where the three do not fit together.
    """
    places, labels = _to_scale(np.array([found["x"], found["y"]], dtype=float)), np.array(found["label"])
    crossed = np.isin(labels, forgotten)
    shown = [
        Markup('<path class="dots" d="{}"/>').format(_path(places[:, ~crossed], "h0")),
        Markup('<path class="crosses" d="{}"/>').format(_path(places[:, crossed] - 3, CROSS, (0, 6))),
        *_captions(places, labels, forgotten, names),
    ]
    frame = Markup('<svg class="map" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(SIDE, SIDE, what)
    return frame + Markup("").join(shown) + Markup("</svg>")


def _to_scale(places: np.ndarray) -> np.ndarray:
    """Places [2, n] as whole numbers inside the picture, with the same scale on both axes and y upwards."""
    low, high = places.min(axis=1, keepdims=True), places.max(axis=1, keepdims=True)
    scale = (SIDE - 2 * EDGE) / max(float((high - low).max()), 1e-9)
    centred = (places - (low + high) / 2) * [[scale], [-scale]] + SIDE / 2
    return np.asarray(centred.round(), dtype=int)


def _path(places: np.ndarray, mark: str, ends_at: tuple[int, int] = (0, 0)) -> str:
    """`mark` at every place, by steps relative to where the one before ended, which takes the fewest letters."""
    steps, (here_x, here_y) = [], (0, 0)
    for x, y in places.T[np.lexsort(places)].tolist():
        steps.append(f"m{x - here_x}{'' if y < here_y else ' '}{y - here_y}{mark}")
        here_x, here_y = x + ends_at[0], y + ends_at[1]
    return "".join(steps)


def _captions(places: np.ndarray, labels: np.ndarray, forgotten: Sequence[int], names: Sequence[str]) -> list[Markup]:
    """The names of the classes that stay, each at the middle of its samples."""
    kept = np.setdiff1d(labels, forgotten)
    middles = {label: np.median(places[:, labels == label], axis=1) for label in kept if len(kept) <= FEW_CLASSES}
    caption = Markup('<text x="{:.0f}" y="{:.0f}">{}</text>')
    return [caption.format(x, y, names[label] if label < len(names) else label) for label, (x, y) in middles.items()]
