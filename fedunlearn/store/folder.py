"""An artifact as three files in a folder: packed, written at once or not at all, checked when read.

safetensors and JSON only, nothing that could execute when it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from fedunlearn.errors import RunError
from fedunlearn.store import manifest as manifests
from fedunlearn.store.keys import as_plain
from fedunlearn.store.manifest import DATA, MANIFEST, TENSORS, DamagedError, Manifest, mapping, sha256

if TYPE_CHECKING:  # importing torch takes seconds, which looking into a store need not cost
    from torch import Tensor

MOST = {MANIFEST: 2**26, DATA: 2**30}  # bytes of a file that is read as JSON


@dataclass(frozen=True)
class Artifact:
    """What a stage produced.

    `tensors` come back dense, contiguous, detached, on the CPU, with the same dtype, shape, names and order; tensors
    that share memory come back apart. `data` is what JSON can hold: tuples come back as lists, NumPy numbers as
    Python's; floats come back exactly, NaN and infinities included (written as Python's json writes them). `apart`:
    plain data on what went otherwise than its key says, if anything did (see `Store.get`); not kept with it.
    """

    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    apart: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Packed:
    """An artifact as files: name -> content, the manifest among them as the last."""

    manifest: Manifest
    files: dict[str, bytes]


def pack(stage: str, key: str, determinants: dict[str, Any], artifact: Artifact, seconds: float) -> Packed:
    """The files of an artifact. Raises TypeError or ValueError for what cannot be kept."""
    tensors = _independent(artifact.tensors)
    files = {
        TENSORS: _tensors_to_bytes(tensors),
        DATA: json.dumps(as_plain(artifact.data, "data"), indent=1).encode() + b"\n",
    }
    manifest = Manifest(
        stage=stage,
        key=key,
        determinants=determinants,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        files={name: {"bytes": len(content), "sha256": sha256(content)} for name, content in files.items()},
        tensors=_described(tensors),
        versions={
            "python": platform.python_version(),
            "torch": _version("torch"),
            "fedunlearn": _version("fedunlearn"),
        },
    )
    return Packed(manifest, {**files, MANIFEST: manifests.to_bytes(dataclasses.asdict(manifest))})


def unpack(packed: Packed) -> Artifact:
    """The inverse of `pack`. Raises DamagedError if the files are not what the manifest says that they hold."""
    names = packed.manifest.tensors
    tensors = _tensors_from_bytes(packed.files[TENSORS]) if names else {}
    if _described(tensors) != names:
        odd = sorted(name for name in {*tensors, *names} if _described(tensors).get(name) != names.get(name))
        raise DamagedError(f"{TENSORS} does not hold the tensors of the manifest ({odd[0]})")
    return Artifact({name: tensors[name] for name in names}, mapping(packed.files[DATA], DATA))


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` as the new folder `target`: all of them or, whatever happens, none. Raises RunError.

    The caller is the only one who writes `target`, so what others began to write there is left over from the dead.
    """
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    with writing(target):
        for left_over in target.parent.glob(f"{target.name}.tmp-*"):
            remove(left_over)
        try:
            temporary.mkdir(parents=True)
            for name, content in files.items():
                _write_file(temporary / name, content)
            _sync_folder(temporary)
            temporary.rename(target)
            _sync_folder(target.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def read_folder(folder: Path) -> Packed:
    """What a folder holds, every checksum verified. Raises DamagedError, or RunError where reading is not possible."""
    return checked(lambda name, most: _read_file(folder / name))


def checked(read: Callable[[str, int], bytes]) -> Packed:
    """The files of an artifact, every checksum verified. Raises DamagedError, and what `read` raises.

    `read(name, most)`: the content of a file, of which no more than `most` bytes are wanted.
    """
    content = read(MANIFEST, MOST[MANIFEST])
    manifest, files = manifests.from_bytes(content), {}
    for name, expected in manifest.files.items():
        files[name] = read(name, min(expected["bytes"], MOST.get(name, expected["bytes"])))
        if len(files[name]) != expected["bytes"]:
            raise DamagedError(f"{name} has {len(files[name])} bytes instead of {expected['bytes']}")
        if sha256(files[name]) != expected["sha256"]:
            raise DamagedError(f"the checksum of {name} does not match")
    return Packed(manifest, {**files, MANIFEST: content})


def check_place(packed: Packed, stage: str, key: str) -> None:
    """Raise DamagedError if the files are about another stage or key: somebody may have renamed folders."""
    held = packed.manifest
    if (held.stage, held.key) != (stage, key):
        raise DamagedError(f"it holds {held.stage} {held.key}")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. Raises DamagedError, or RunError where reading is not possible."""
    return manifests.from_bytes(_read_file(folder / MANIFEST))


def remove(path: Path) -> None:
    """Remove a folder with all that it holds, a file, or a link (but not what it leads to)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one sentence: RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """The cause as the operating system words it, with a small letter."""
    words = error.strerror or str(error) or type(error).__name__
    return words[:1].lower() + words[1:]


def _independent(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies without views, gradients or other devices, which safetensors refuses (or stores twice)."""
    if "__metadata__" in tensors:
        raise ValueError("a tensor cannot be called __metadata__: safetensors keeps that name for itself")
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _described(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> dtype and shape, as the manifest has them."""
    return {name: f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for name, t in tensors.items()}


def _tensors_to_bytes(tensors: dict[str, Tensor]) -> bytes:
    if not tensors:  # spares the import of torch
        return safetensors.serialize({}, None)
    from safetensors.torch import save

    return save(tensors)


def _tensors_from_bytes(content: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load

    try:
        return load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise DamagedError(f"{TENSORS} cannot be understood ({error})") from error


def _write_file(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # only there can a folder be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_file(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # reading a pipe would take for ever
            raise DamagedError(f"{path.name} cannot be read (it is not a file)")
        if found.st_size > MOST.get(path.name, found.st_size):
            raise DamagedError(f"{path.name} is too large to be what was written ({found.st_size} bytes)")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{path.name} is missing") from None
    except OSError as error:
        if error.errno in (
            errno.EIO,
            errno.EISDIR,
            errno.ELOOP,
        ):  # anything else may be well tomorrow
            raise DamagedError(f"{path.name} cannot be read ({reason(error)})") from error
        raise RunError(f"cannot read {path}: {reason(error)}") from error


@cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
