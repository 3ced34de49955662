"""The numbers that a sweep varies, such as clients, rounds or a share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedunlearn.plain import flat

PREFIX = "swept."  # of the columns of `tables.tidy` that hold such a number
SECTIONS = ("partition", "train", "unlearn", "retrain", "select", "data", "request", "method", "augment", "adapter")


def columns_of(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Of each configuration its numbers, by `swept.KEY`, that all have and that are not the same in all."""
    known = [{key: value for key, value in flat(config).items() if _is_number(key, value)} for config in configs]
    shared = [key for key in (known[0] if known else {}) if all(key in each for each in known)]
    varied = [key for key in shared if len({each[key] for each in known}) > 1]
    return [{f"{PREFIX}{key}": float(each[key]) for key in varied} for each in known]


def _is_number(key: str, value: Any) -> bool:
    return key.partition(".")[0] in SECTIONS and isinstance(value, (int, float)) and not isinstance(value, bool)
