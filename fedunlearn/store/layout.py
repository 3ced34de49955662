"""Where things lie below the root of a store, and the lock that goes with each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fedunlearn.errors import RunError
from fedunlearn.files import take
from fedunlearn.store.folder import reason, writing
from fedunlearn.store.keys import KEY_LENGTH

DAMAGED, LOCKS = "damaged", "locks"
STAGE = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
KEY = rf"[0-9a-f]{{{KEY_LENGTH}}}"


@dataclass(frozen=True)
class Location:
    """Where one artifact is, or would be."""

    root: Path
    stage: str
    key: str

    def __post_init__(self) -> None:
        if not re.fullmatch(STAGE, self.stage) or self.stage in (DAMAGED, LOCKS):
            raise ValueError(f"a stage cannot be called {self.stage!r}: letters, digits, '_', '-' and '.' only")

    def __str__(self) -> str:
        return f"{self.stage} {self.key}"

    @property
    def folder(self) -> Path:
        """The finished artifact."""
        return self.root / self.stage / self.key

    @property
    def checkpoints(self) -> Path:
        """Holds the numbered checkpoints of an unfinished computation."""
        return self.root / self.stage / f"{self.key}.checkpoint"

    def temporaries(self) -> list[Path]:
        """What is being written or, seen by the holder of the lock, was left behind."""
        return sorted((self.root / self.stage).glob(f"{self.key}.tmp-*"))

    def lock(self) -> FileLock:
        """A new lock object (so threads exclude each other too). The system releases it when its holder dies."""
        return FileLock(self.root / LOCKS / f"{self.stage}-{self.key}.lock")

    def set_aside(self, path: Path) -> Path:
        """Move what lies at `path` to the damaged things and say where it is now. Only for the holder of the lock."""
        number = 1
        while is_there(target := self.root / DAMAGED / f"{self.stage}-{self.key}-{number}"):
            number += 1
        with writing(target):
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        return target


class LockError(RunError):
    """There can be no such lock."""


def is_there(path: Path) -> bool:
    """Does anything lie at `path`? A link that leads nowhere does."""
    return os.path.lexists(path)


@contextmanager
def _locking(location: Location) -> Iterator[None]:
    """Turn the operating system's refusals into one sentence: LockError."""
    path = Path(location.lock().lock_file)
    try:
        path.parent.mkdir(exist_ok=True)
        yield
    except OSError as error:
        raise LockError(f"cannot write {path}: {reason(error)}") from error


@contextmanager
def alone(location: Location, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of `location`; `on_wait` is called if that takes more than a second. Raises RunError."""
    with _locking(location):
        lock = take(Path(location.lock().lock_file), on_wait, patience=1)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone_if_free(location: Location) -> Iterator[bool]:
    """Hold the lock of `location` if nobody else does; says whether. Never waits. Raises RunError."""
    lock = location.lock()
    with _locking(location), suppress(Timeout):
        lock.acquire(timeout=0)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def locations(root: Path) -> list[Location]:
    """Every location below `root` where anything lies, finished or not, sorted."""
    stages = [path for path in root.iterdir() if path.is_dir() and re.fullmatch(STAGE, path.name)]
    found = {
        Location(root, stage.name, match.group())
        for stage in stages
        if stage.name not in (DAMAGED, LOCKS)
        for path in stage.iterdir()
        if (match := re.match(rf"{KEY}(?=$|\.)", path.name))
    }
    return sorted(found, key=lambda location: (location.stage, location.key))


def checkpoint_numbers(location: Location) -> list[int]:
    """The numbers of the checkpoints of an unfinished computation, the newest first."""
    try:
        names = [path.name for path in location.checkpoints.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((int(name) for name in names if re.fullmatch("[1-9][0-9]{0,8}", name)), reverse=True)
