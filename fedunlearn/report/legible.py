"""Text that the fonts at hand can draw: classes may be called anything, in any script, or by an emoji.

matplotlib takes a sign from the first of its fonts that has it, warns of every sign that none has, and draws an empty
box for it. Here such signs are replaced before anything is drawn, by a box without a warning.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from matplotlib.font_manager import fontManager, get_font

from fedunlearn.report.runs import Run

BOX = "□"
FIRST = "DejaVu Sans"  # comes with matplotlib
# Taken where they are installed; a font whose signs are pictures (Noto Color Emoji) cannot be drawn.
OTHERS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "Microsoft YaHei", "Yu Gothic"),
    *(
        "Hiragino Sans",
        "PingFang SC",
        "Malgun Gothic",
        "Noto Sans Devanagari",
        "Noto Sans Thai",
        "Noto Emoji",
        "Symbola",
    ),
)


@cache
def families() -> tuple[str, ...]:
    """The fonts to draw with, in the order in which they are asked for a sign."""
    installed = {font.name for font in fontManager.ttflist}
    return (FIRST, *(name for name in OTHERS if name in installed))


@cache
def _signs() -> frozenset[int]:
    """The code points that some of them has."""
    paths = {fontManager.findfont(name) for name in families()}
    return frozenset(sign for path in sorted(paths) for sign in get_font(path).get_charmap())


def drawable(text: str) -> str:
    """The same with a box for every sign that cannot be drawn; what only joins or colours signs is left out."""
    if text.isascii():
        return text
    return "".join(_drawn(sign) for sign in text)


def _drawn(sign: str) -> str:
    if ord(sign) in _signs() or sign.isspace():
        return sign
    return "" if unicodedata.category(sign) in ("Cf", "Mn", "Sk") else BOX


def class_name(number: int, name: str) -> str:
    """A class's name as far as it can be drawn; its number where nothing of it can."""
    shown = drawable(name)
    return shown if shown.strip(f"{BOX} ") or not shown.strip() else f"class {number}"


def legible(run: Run) -> Run:
    """The run with names that can be drawn, of classes and in its configuration."""
    names = tuple(class_name(number, name) for number, name in enumerate(run.summary.class_names))
    asked = dict(zip(run.summary.class_names, names, strict=True))
    return replace(run, summary=replace(run.summary, class_names=names, config=_mended(run.summary.config, asked)))


def _mended(value: Any, asked: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return asked.get(value, drawable(value))
    if isinstance(value, Mapping):
        return {key: _mended(item, asked) for key, item in value.items()}
    return [_mended(item, asked) for item in value] if isinstance(value, (list, tuple)) else value
