"""Keys: what an artifact is called follows from what it depends on, and from nothing else."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
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


@cache
def code_fingerprint(*sources: ModuleType | Path | str) -> str:
    """A hash of the source text of modules, packages (with all below them), files or folders: 24 hex digits.

    Text is taken as a dotted module name. Neither the order of `sources`, nor line endings, nor where the code is
    installed make a difference. Read once per process. Raises ValueError where there is no Python source.
    """
    texts = {(name, path.read_text("utf-8")) for source in sources for name, path in _source_files(source)}
    digest = hashlib.sha256()
    for name, text in sorted(texts):  # read_text has turned every line ending into \n
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()[:KEY_LENGTH]


def _source_files(source: ModuleType | Path | str) -> Iterator[tuple[str, Path]]:
    name, locations = _name_and_places(source)
    found = False
    for location in locations:
        for path in location.rglob("*.py") if location.is_dir() else [location]:
            found = True
            yield (name if path == location else f"{name}/{path.relative_to(location).as_posix()}"), path
    if not found:
        raise ValueError(f"there is no Python source in {name}")


def _name_and_places(source: ModuleType | Path | str) -> tuple[str, list[Path]]:
    if isinstance(source, Path):
        return source.name, [source] if source.exists() else []
    if isinstance(source, ModuleType):
        return source.__name__, _paths(getattr(source, "__path__", None), source.__file__)
    try:
        spec = importlib.util.find_spec(source)
    except ModuleNotFoundError:
        spec = None
    return source, _paths(spec.submodule_search_locations, spec.origin) if spec else []


def _paths(folders: list[str] | None, file: str | None) -> list[Path]:
    return [path for path in map(Path, folders or [file or ""]) if path.is_dir() or path.suffix == ".py"]
