"""Plain data, which is what JSON can hold: with dotted names, and without numbers that JSON does not have."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

SHORT = 300  # characters


def flat(value: Any, where: str = "") -> dict[str, Any]:
    """Dotted path -> value: `{"train": {"lr": 1}}` is `{"train.lr": 1}`.

    Lists stay whole, except those of groups (`a[0].b`); an empty group is a value.
    """
    if isinstance(value, Mapping) and value:
        parts = {f"{where}.{key}" if where else str(key): item for key, item in value.items()}
    elif isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
        parts = {f"{where}[{i}]": item for i, item in enumerate(value)}
    else:
        return {where: value} if where else {}
    return {path: leaf for part, item in parts.items() for path, leaf in flat(item, part).items()}


def shortened(text: str) -> str:
    """The text if it is short enough to be read in passing, else its beginning and an ellipsis."""
    return text if len(text) <= SHORT else textwrap.shorten(text, SHORT, placeholder=" …")


def finite(value: Any) -> Any:
    """The same with None for every number that is not finite, and lists for tuples."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
