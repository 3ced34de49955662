"""Remove what nobody needs any more: left-overs always, artifacts only where the user selects them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedunlearn.errors import RunError
from fedunlearn.store.catalogue import size_of
from fedunlearn.store.folder import read_manifest, remove, writing
from fedunlearn.store.layout import DAMAGED, KEY, STAGE, Location, LockError, alone_if_free, is_there, locations
from fedunlearn.store.manifest import DamagedError


@dataclass(frozen=True)
class Selection:
    """What to prune besides left-overs. Conditions add up; with none of them nothing is selected."""

    stage: str | None = None  # only this stage
    older_than: timedelta | None = None  # only what was created at least so long ago
    damaged: bool = False  # what was set aside as damaged, not what is whole

    @property
    def artifacts(self) -> bool:
        """Whether any artifacts, finished or begun, are selected."""
        return not self.damaged and (self.stage is not None or self.older_than is not None)

    def fits(self, stage: str, created: datetime, now: datetime) -> bool:
        """Whether something of that stage and age is selected."""
        return self.stage in (None, stage) and (self.older_than is None or now - created >= self.older_than)


@dataclass(frozen=True)
class Unwanted:
    """Something to remove, and why."""

    path: Path
    why: str
    size: int  # bytes


def prune(
    root: Path, selection: Selection, now: datetime, dry_run: bool = False
) -> tuple[list[Unwanted], list[tuple[Location, str]]]:
    """Remove left-overs and what is selected; `dry_run` only looks.

    Left-overs are what dead processes were writing and the checkpoints of finished stages. Returns what was (or
    would be) removed, and the locations that were left alone, with the reason. Raises RunError.
    """
    removed, left = [], []
    for location in locations(root):
        try:
            with alone_if_free(location) as free:
                if free:
                    found = [Unwanted(path, why, size_of(path)) for path, why in _unwanted(location, selection, now)]
                    removed += found if dry_run else [_discard(unwanted) for unwanted in found]
                else:
                    left.append((location, "it is being computed"))
        except LockError as error:
            left.append((location, str(error)))
    damaged = [Unwanted(path, "damaged", size_of(path)) for path in _set_aside(root, selection, now)]
    return removed + (damaged if dry_run else [_discard(unwanted) for unwanted in damaged]), left


def _unwanted(location: Location, selection: Selection, now: datetime) -> Iterator[tuple[Path, str]]:
    """What lies at one location, whose lock is held, and is to go."""
    finished = is_there(location.folder)
    for path in location.temporaries():
        yield path, "left by a process that died"
    if is_there(location.checkpoints):
        if finished:
            yield location.checkpoints, "checkpoint of a finished stage"
        elif selection.artifacts and selection.fits(location.stage, _created(location.checkpoints), now):
            yield location.checkpoints, "not finished"
    if finished and selection.artifacts and selection.fits(location.stage, _created(location.folder), now):
        yield location.folder, "selected"


def _set_aside(root: Path, selection: Selection, now: datetime) -> list[Path]:
    """The damaged artifacts that are selected."""
    if not selection.damaged or not (root / DAMAGED).is_dir():
        return []
    named = [(path, re.fullmatch(rf"({STAGE})-{KEY}-\d+", path.name)) for path in sorted((root / DAMAGED).iterdir())]
    return [path for path, match in named if match and selection.fits(match.group(1), _created(path), now)]


def _created(folder: Path) -> datetime:
    """When an artifact was made: as its manifest says, else as the file system says."""
    try:
        return datetime.fromisoformat(read_manifest(folder).created)
    except (DamagedError, RunError):
        return datetime.fromtimestamp(folder.lstat().st_mtime, UTC)


def _discard(unwanted: Unwanted) -> Unwanted:
    """Remove; a finished artifact is renamed first, so that no reader finds half of it."""
    path = unwanted.path
    with writing(path):
        if re.fullmatch(KEY, path.name):
            path = path.rename(path.with_name(f"{path.name}.tmp-pruned"))
        remove(path)
    return unwanted
