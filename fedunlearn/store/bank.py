"""A bank: finished stages of a store in one file, so that others need not train them again.

A bank may be anybody's. What comes out of it is checked like what lies in a store, file by file; its key is computed
anew from what it says it depends on; and nothing that a store holds already is replaced. That shows that the bank is
whole, not that its models were really trained as it says: for that, one has to trust whoever made it, or train one of
them again.
"""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fedunlearn.errors import RequestError
from fedunlearn.files import replacing
from fedunlearn.store.catalogue import Entry
from fedunlearn.store.folder import Packed, check_place, checked, reason, unpack, write_folder, writing
from fedunlearn.store.keys import key_of
from fedunlearn.store.layout import DAMAGED, KEY, LOCKS, STAGE, Location, alone, is_there
from fedunlearn.store.manifest import DATA, MANIFEST, TENSORS, DamagedError

FILES = (MANIFEST, TENSORS, DATA)
MEMBER = rf"({STAGE})/({KEY})/({'|'.join(map(re.escape, FILES))})"
DAY = (1980, 1, 1, 0, 0, 0)  # the same artifacts make the same bank


@dataclass(frozen=True)
class Imported:
    """What became of one artifact of a bank. `problem`: why it was not taken; empty if nothing is wrong with it."""

    stage: str
    key: str
    new: bool
    problem: str = ""


def export(path: Path, entries: Sequence[Entry]) -> None:
    """Write finished entries of a store into the file `path`, whole or not at all. Raises RunError."""
    with writing(path), replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as bank:
        for entry in entries:
            for name in FILES:
                place = f"{entry.location.stage}/{entry.location.key}/{name}"
                with (
                    (entry.folder / name).open("rb") as source,
                    bank.open(zipfile.ZipInfo(place, DAY), "w", force_zip64=True) as target,
                ):
                    shutil.copyfileobj(source, target)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The bank in a file. Raises RequestError if it is none."""
    try:
        with zipfile.ZipFile(path) as bank:
            yield bank
    except OSError as error:
        raise RequestError(f"the bank {path} cannot be read ({reason(error)})") from error
    except zipfile.BadZipFile as error:
        raise RequestError(f"{path} is no bank of fedunlearn-store export ({error})") from error


def names(bank: zipfile.ZipFile) -> list[tuple[str, str]]:
    """Stage and key of every artifact, sorted. Raises RequestError for a file that holds anything else."""
    matches = [re.fullmatch(MEMBER, name) for name in bank.namelist()]
    odd = [name for name, match in zip(bank.namelist(), matches, strict=True) if not match]
    found = sorted({(match[1], match[2]) for match in matches if match})
    odd += [f"{stage}/{key}" for stage, key in found if stage in (DAMAGED, LOCKS)]
    if odd or len(set(bank.namelist())) != len(matches):
        raise RequestError(f"this is no bank of fedunlearn-store export: it holds {(odd or ['a file twice'])[0]!r}")
    return found


def take(root: Path, bank: zipfile.ZipFile, found: Iterable[tuple[str, str]]) -> Iterator[Imported]:
    """Put artifacts of the bank into the store at `root`, one after another; what it holds already stays. RunError."""
    for stage, key in found:
        location = Location(root, stage, key)
        try:
            packed = _checked(bank, stage, key)
        except DamagedError as damage:
            yield Imported(stage, key, False, str(damage))
            continue
        with alone(location, lambda: None):
            new = not is_there(location.folder)
            if new:
                write_folder(location.folder, packed.files)
        yield Imported(stage, key, new)


def _checked(bank: zipfile.ZipFile, stage: str, key: str) -> Packed:
    """An artifact of the bank, if it is what its name says. Raises DamagedError."""
    packed = checked(lambda name, most: _read(bank, f"{stage}/{key}/{name}", most))
    check_place(packed, stage, key)
    if key_of(stage, packed.manifest.determinants) != key:
        raise DamagedError("its key does not follow from what it depends on")
    unpack(packed)
    return packed


def _read(bank: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of the bank, of at most so many bytes. Raises DamagedError."""
    try:
        with bank.open(name) as file:
            content = _bounded(file, most)
    except (KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise DamagedError(f"{Path(name).name} cannot be read ({error})") from error
    return content


def _bounded(file: IO[bytes], most: int) -> bytes:  # a bomb unpacks to more than it says
    content = file.read(most + 1)
    if len(content) > most:
        raise DamagedError("a file is larger than the manifest says")
    return content
