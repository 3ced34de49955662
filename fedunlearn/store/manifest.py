"""The manifest of an artifact: what it is and what it depends on, checked when read.

Its checksum shows that nothing was changed by accident. It is no proof of origin (anybody can compute it), so every
field is checked for what it should be as well.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

MANIFEST, TENSORS, DATA = "manifest.json", "tensors.safetensors", "data.json"
DEEPEST = 60  # levels of nesting, more than any configuration has and fewer than Python's functions can go down
LARGEST = 2**50  # bytes
LONGEST = 1e10  # seconds


class DamagedError(Exception):
    """A folder is not what was written; the message says in what way."""


@dataclass(frozen=True)
class Manifest:
    """What a folder holds and what its content depends on."""

    stage: str
    key: str
    determinants: dict[str, Any]
    created: str  # ISO 8601, UTC
    seconds: float  # spent computing it, before and after interruptions
    files: dict[str, dict[str, Any]]  # name -> {"bytes": size, "sha256": checksum}
    tensors: dict[str, str]  # name -> dtype and shape, in order
    versions: dict[str, str]


def to_bytes(body: Mapping[str, Any]) -> bytes:
    """The file of a manifest, given its fields by name: readable JSON that ends with its own checksum."""
    checksum = sha256(json.dumps(body).encode())
    return json.dumps({**body, "checksum": checksum}, indent=1).encode() + b"\n"


def from_bytes(content: bytes) -> Manifest:
    """The inverse of `to_bytes`. Any changed byte, and any field that is not what it should be, raises DamagedError."""
    body = mapping(content, MANIFEST)
    body.pop("checksum", None)
    if (names := set(body)) != (expected := {field.name for field in fields(Manifest)}):
        odd = sorted(names ^ expected)[0]
        raise DamagedError(f"{MANIFEST} is not a manifest ({odd!a:.40} is {'missing' if odd in expected else 'odd'})")
    for name, is_right in CHECKS.items():
        if not is_right(body[name]):
            raise DamagedError(f"{MANIFEST} is not a manifest (its {name} cannot be right)")
    if to_bytes(body) != content:
        raise DamagedError(f"the checksum of {MANIFEST} does not match")
    return Manifest(**body)


def mapping(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object in the file `name`. Raises DamagedError if there is another thing, or a bomb."""
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise TypeError("no JSON object")
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedError(f"{name} cannot be understood ({error})") from error
    if _depth(found) > DEEPEST:
        raise DamagedError(f"{name} is nested too deeply")
    return found


def sha256(content: bytes) -> str:
    """The checksum of a file's content, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def _depth(value: object) -> int:
    """How many levels of mappings and lists there are, without recursion."""
    level, depth = [value], 0
    while level := [item for value in level for item in _items(value)]:
        depth += 1
    return depth


def _items(value: object) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_duration(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= LONGEST  # type: ignore[arg-type, operator]


def _are_files(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {TENSORS, DATA} and all(map(_is_file, value.values()))


def _is_file(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"bytes", "sha256"}:
        return False
    size, checksum = value["bytes"], value["sha256"]
    whole = type(size) is int and 0 <= size <= LARGEST
    return whole and isinstance(checksum, str) and bool(re.fullmatch("[0-9a-f]{64}", checksum))


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, [*value, *value.values()]))


CHECKS = {
    "stage": _is_text,
    "key": _is_text,
    "determinants": lambda value: isinstance(value, dict),
    "created": _is_time,
    "seconds": _is_duration,
    "files": _are_files,
    "tensors": _are_texts,
    "versions": _are_texts,
}
