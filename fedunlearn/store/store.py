"""Compute each stage once: look it up, or wait for whoever computes it, or compute it and keep it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedunlearn.errors import RequestError
from fedunlearn.store.folder import (
    Artifact,
    Packed,
    check_place,
    pack,
    read_folder,
    reason,
    remove,
    unpack,
    write_folder,
)
from fedunlearn.store.keys import as_plain, key_of
from fedunlearn.store.layout import Location, alone, checkpoint_numbers, is_there
from fedunlearn.store.manifest import DATA, TENSORS, DamagedError

Say = Callable[[str], None]
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stored(Artifact):
    """An artifact and how it came about. `cached`: true if it was in the store already."""

    key: str
    cached: bool


class Store:
    """Finished stages below `root`, shared by the threads and processes of this machine (or of a shared disk).

    `say` receives what the user should know: waiting for another process, damage found and repaired. A store that
    cannot be written to serves what it holds. Raises RequestError if there can be no folder at `root`.
    """

    def __init__(self, root: Path, say: Say = LOG.warning) -> None:
        self._root = Path(root).expanduser().absolute()
        self._say = say
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"cannot write to the store {self._root}: {reason(error)}") from error

    def get(self, stage: str, determinants: Mapping[str, Any], compute: Callable[[Checkpoint], Artifact]) -> Stored:
        """The artifact of `stage` that `determinants` lead to; calls `compute` only if it is not in the store.

        `determinants` is plain data that names everything the result depends on (see `key_of`). The same artifact
        comes back, bit for bit, whether it was computed now or before. Raises RunError if it cannot be written;
        what `compute` raises passes through, and its checkpoint stays.

        Where `compute` says that something happened which the determinants do not foresee (`Artifact.apart`), the
        artifact is kept apart, under a key that says what happened and what came out. It is never served to anybody who
        asks for these determinants, only to those who know that key (see `held`).
        """
        named = as_plain(determinants, "determinants")
        location = Location(self._root, stage, key_of(stage, named))
        with suppress(DamagedError):  # looked at again below, where nobody else is moving things
            if (stored := _load(location)) is not None:
                return stored
        with alone(location, lambda: self._say(f"waiting for {location}, which is being computed by another process")):
            return self._load_or_set_aside(location) or self._compute(location, named, compute)

    def peek(self, stage: str, determinants: Mapping[str, Any]) -> Stored | None:
        """The artifact if it is in the store, else None. Computes nothing, waits for nothing, changes nothing."""
        location = Location(self._root, stage, key_of(stage, determinants))
        try:
            return _load(location)
        except DamagedError as damage:
            self._say(f"{location.folder} is damaged: {damage}")
            return None

    def has(self, stage: str, determinants: Mapping[str, Any]) -> bool:
        """Is there such an artifact, sound or damaged? Reads nothing of it."""
        return is_there(Location(self._root, stage, key_of(stage, determinants)).folder)

    def held(self, stage: str, key: str) -> Stored | None:
        """What is kept under `key`, else None. Computes nothing, waits for nothing, changes nothing."""
        with suppress(DamagedError):
            return _load(Location(self._root, stage, key))
        return None

    def _load_or_set_aside(self, location: Location) -> Stored | None:
        try:
            return _load(location)
        except DamagedError as damage:
            aside = location.set_aside(location.folder)
            self._say(f"{location.folder} is damaged: {damage}; it is now {aside} and is computed again")
            return None

    def _compute(
        self, location: Location, determinants: dict[str, Any], compute: Callable[[Checkpoint], Artifact]
    ) -> Stored:
        if is_there(location.checkpoints) and not location.checkpoints.is_dir():
            self._say(f"{location.checkpoints} is no folder; it is now {location.set_aside(location.checkpoints)}")
        checkpoint = Checkpoint(location, determinants, self._say)
        artifact = compute(checkpoint)
        packed = checkpoint.pack(artifact)
        stored = self._keep_apart(checkpoint, artifact, packed) if artifact.apart else _keep(location, packed)
        with suppress(OSError):
            remove(location.checkpoints)
        return stored

    def _keep_apart(self, checkpoint: Checkpoint, artifact: Artifact, packed: Packed) -> Stored:
        """Under a key that holds the checksums of what came out: whoever knows it has made the very same thing."""
        held = packed.manifest
        content = held.files[TENSORS if held.tensors else DATA]["sha256"]
        determinants = {**held.determinants, "apart": {**as_plain(artifact.apart, "apart"), "content": content}}
        location = Location(self._root, held.stage, key_of(held.stage, determinants))
        there = self._load_or_set_aside(location)
        if there is None:
            return _keep(location, checkpoint.pack(artifact, location.key, determinants))
        return replace(there, data=unpack(packed).data, cached=False)  # the same, but for how long it took


class Checkpoint:
    """Where a computation keeps what it has so far. It outlives a killed process; a finished stage has none."""

    def __init__(self, location: Location, determinants: dict[str, Any], say: Say) -> None:
        self._place = location
        self._determinants = determinants
        self._say = say
        self._started = time.monotonic()
        self._seconds_before = 0.0

    def load(self) -> Artifact | None:
        """What was saved last, by this process or one before it, or None. A damaged one is passed over."""
        for number in checkpoint_numbers(self._place):
            folder = self._place.checkpoints / str(number)
            try:
                packed = _read_own(folder, self._place)
                artifact = unpack(packed)
            except DamagedError as damage:
                self._say(f"the checkpoint {folder} is damaged: {damage}; it is not used")
                continue
            self._started, self._seconds_before = time.monotonic(), packed.manifest.seconds
            return artifact
        return None

    def save(self, artifact: Artifact) -> None:
        """Replace what was saved; a process killed meanwhile leaves the one before. Raises RunError."""
        older = checkpoint_numbers(self._place)
        target = self._place.checkpoints / str(older[0] + 1 if older else 1)
        write_folder(target, self.pack(artifact).files)
        for path in self._place.checkpoints.iterdir():
            if path != target:
                with suppress(OSError):
                    remove(path)

    def pack(self, artifact: Artifact, key: str | None = None, determinants: Mapping[str, Any] | None = None) -> Packed:
        """The artifact as files, with the time that it took until now; under another key where one is given."""
        seconds = self._seconds_before + time.monotonic() - self._started
        named = dict(determinants or self._determinants)
        return pack(self._place.stage, key or self._place.key, named, artifact, seconds)


def _keep(location: Location, packed: Packed) -> Stored:
    write_folder(location.folder, packed.files)
    return _stored(location, packed, cached=False)


def _load(location: Location) -> Stored | None:
    return _stored(location, _read_own(location.folder, location), cached=True) if is_there(location.folder) else None


def _read_own(folder: Path, location: Location) -> Packed:
    """What `folder` holds, provided that it is about `location`."""
    packed = read_folder(folder)
    check_place(packed, location.stage, location.key)
    return packed


def _stored(location: Location, packed: Packed, cached: bool) -> Stored:
    artifact = unpack(packed)
    return Stored(artifact.tensors, artifact.data, key=location.key, cached=cached)
