"""A run's course by round as a small SVG, a few hundred bytes: a page can hold hundreds of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

WIDTH, HEIGHT, EDGE = 300, 90, 5


def course(rounds: Mapping[int, float], original: float | None, retrained: Sequence[float], what: str) -> Markup:
    """The unlearned model by round between 0 and 1, on the band of the retrained models, with the original dashed.

    `what` says to those who cannot see it what is shown.
    """
    last = max(1, *rounds)
    points = " ".join(f"{_x(number, last):.1f},{_y(value):.1f}" for number, value in rounds.items())
    end = list(rounds.items())[-1]
    marks = [
        *(_line("zero" if level == 0 else "grid", level) for level in (0.0, 0.5, 1.0)),
        *(
            [_band(min(retrained), max(retrained)), _line("retrained", sum(retrained) / len(retrained))]
            if retrained
            else []
        ),
        *([_line("original", original)] if original is not None else []),
        Markup('<polyline class="unlearned" points="{}"/>').format(points),
        Markup('<circle class="unlearned" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(_x(end[0], last), _y(end[1])),
    ]
    frame = Markup('<svg class="course" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, what)
    return frame + Markup("").join(marks) + Markup("</svg>")


def _line(name: str, level: float) -> Markup:
    y = _y(level)
    return Markup('<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(name, EDGE, WIDTH - EDGE, y, y)


def _band(low: float, high: float) -> Markup:
    top, height = _y(high), max(1.0, _y(low) - _y(high))
    shape = Markup('<rect class="retrained" x="{}" y="{:.1f}" width="{}" height="{:.1f}"/>')
    return shape.format(EDGE, top, WIDTH - 2 * EDGE, height)


def _x(number: int, last: int) -> float:
    return EDGE + (WIDTH - 2 * EDGE) * number / last


def _y(value: float) -> float:
    return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * min(1.0, max(0.0, value))
