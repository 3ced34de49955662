"""Write a file whole or not at all: a reader never sees half a table, and a killed report leaves the old one.

And hold a lock file, so that two processes do not work in one place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`: takes its place if the block ends well, is removed if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Put `text` into `path` as UTF-8, atomically; returns `path`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path


def is_folder(path: Path) -> bool:
    """Is there a folder at `path`? There is none whose name is longer than the system takes."""
    try:
        return path.is_dir()
    except OSError:
        return False


def take(path: Path, on_wait: Callable[[], None], patience: float = 0.0) -> FileLock:
    """Hold the lock file at `path`; the system lets go of it when its holder dies.

    If somebody else holds it for longer than `patience` seconds, `on_wait` is called: it says that this process waits,
    or raises what the caller shall see instead of waiting. Raises OSError where there can be no such file.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        on_wait()
        lock.acquire()
    return lock


@contextmanager
def alone(path: Path, on_wait: Callable[[], None], patience: float = 0.0) -> Iterator[None]:
    """`take` for the length of a block."""
    lock = take(path, on_wait, patience)
    try:
        yield
    finally:
        lock.release()
