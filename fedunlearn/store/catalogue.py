"""What is in a store: list it, find one artifact, compare two, check all. Nothing here computes or changes anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedunlearn.errors import RequestError, RunError, listed
from fedunlearn.plain import flat
from fedunlearn.store.folder import check_place, read_folder, read_manifest, unpack
from fedunlearn.store.layout import Location, checkpoint_numbers, is_there, locations
from fedunlearn.store.manifest import DamagedError, Manifest

ABSENT = "(absent)"


@dataclass(frozen=True)
class Entry:
    """An artifact in the store, or the newest checkpoint of one that is not finished."""

    location: Location
    folder: Path
    finished: bool
    manifest: Manifest | None  # None: it cannot be read
    problem: str = ""  # why it cannot be read


def open_store(root: Path) -> Path:
    """The absolute path of an existing store. Raises RequestError if there is none."""
    if not root.is_dir():
        raise RequestError(f"there is no store at {root}")
    return root.absolute()


def entries(root: Path) -> list[Entry]:
    """Everything finished or begun below `root`, sorted by stage and key. Only manifests are read."""
    return [entry for location in locations(root) if (entry := _entry(location)) is not None]


def find(root: Path, prefix: str) -> Entry:
    """The one entry whose key starts with `prefix` (`STAGE/PREFIX` also works). Raises RequestError."""
    stage, _, start = prefix.rpartition("/")
    fitting = [entry for entry in entries(root) if _fits(entry.location, stage, start)]
    if not fitting or not start:
        raise RequestError(f"no key in {root} starts with {prefix!r}")
    if len(fitting) > 1:
        some = [f"{entry.location.stage}/{entry.location.key}" for entry in fitting[:5]]
        raise RequestError(f"{prefix!r} is the start of {len(fitting)} keys: give more of {listed(some)}")
    return fitting[0]


def manifest_of(entry: Entry) -> Manifest:
    """The manifest of an entry. Raises RequestError where it cannot be read."""
    if entry.manifest is None:
        raise RequestError(f"{entry.folder} is damaged: {entry.problem}")
    return entry.manifest


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Where two nested mappings differ: (dotted path, old, new), values as JSON or ABSENT, sorted by path."""
    before, after = flatten(old), flatten(new)
    pairs = [(path, before.get(path, ABSENT), after.get(path, ABSENT)) for path in sorted({*before, *after})]
    return [(path, a, b) for path, a, b in pairs if a != b]


def flatten(value: Mapping[str, Any]) -> dict[str, str]:
    """Dotted path -> value as JSON."""
    return {path: json.dumps(leaf) for path, leaf in flat(value).items()}


def nearest(root: Path, manifest: Manifest) -> Manifest | None:
    """The other finished artifact of the same stage with the fewest differences; among equals, the newest."""
    finished = [entry.manifest for entry in entries(root) if entry.finished and entry.manifest]
    others = [other for other in finished if other.stage == manifest.stage and other.key != manifest.key]
    others.sort(key=lambda other: other.created, reverse=True)
    return min(others, key=lambda other: len(differences(other.determinants, manifest.determinants)), default=None)


def damages(root: Path) -> Iterator[tuple[Entry, str]]:
    """For each finished artifact, in order, what is wrong with it; empty text if it is whole. Reads everything."""
    for entry in entries(root):
        if entry.finished:
            yield entry, damage_of(entry)


def damage_of(entry: Entry) -> str:
    """What is wrong with the files of an entry; empty text if nothing is."""
    try:
        packed = read_folder(entry.folder)
        unpack(packed)
        check_place(packed, entry.location.stage, entry.location.key)
    except (DamagedError, RunError) as damage:
        return str(damage)
    return ""


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    size = 0
    for file in [path, *path.rglob("*")]:
        with suppress(FileNotFoundError):  # others may be at work here
            size += file.stat().st_size if file.is_file() else 0
    return size


def _fits(location: Location, stage: str, start: str) -> bool:
    return location.key.startswith(start) and stage in ("", location.stage)


def _entry(location: Location) -> Entry | None:
    numbers = checkpoint_numbers(location)
    finished = is_there(location.folder)
    if not finished and not numbers:
        return None
    folder = location.folder if finished else location.checkpoints / str(numbers[0])
    try:
        return Entry(location, folder, finished, read_manifest(folder))
    except (DamagedError, RunError) as damage:
        return Entry(location, folder, finished, None, str(damage))
