"""Keys: what an artifact is called follows from what it depends on, and from nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY_LENGTH = 24


def key_of(stage: str, determinants: Mapping[str, Any]) -> str:
    """The first 24 hex digits of the sha256 of the canonical JSON of `{"determinants": …, "stage": …}`.

    Canonical: keys sorted, no spaces, ASCII. So the order of mapping keys does not matter and tuples equal lists,
    while 1, 1.0, "1" and true are four different values. Raises TypeError for what is not plain data.
    """
    named = {"stage": stage, "determinants": as_plain(determinants, "determinants")}
    canonical = json.dumps(named, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_LENGTH]


def as_plain(value: object, where: str) -> Any:
    """`value` as JSON can hold it: tuples as lists, NumPy and torch numbers as Python's.

    Raises TypeError, naming the location below `where`, for anything else and for mapping keys that are not text.
    """
    if getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [as_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} is a {type(value).__name__}: the store keeps numbers, text, lists and mappings")
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{where} has the key {key!r}: the store keeps mappings whose keys are text")
    return {key: as_plain(item, f"{where}.{key}") for key, item in value.items()}
