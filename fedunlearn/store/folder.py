"""An artifact as three files in a folder: packed, written at once or not at all, checked when read.

safetensors and JSON only, nothing that could execute when it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from fedunlearn.errors import RunError
from fedunlearn.store.keys import as_plain

if TYPE_CHECKING:  # importing torch takes seconds, which looking into a store need not cost
    from torch import Tensor

MANIFEST, TENSORS, DATA = "manifest.json", "tensors.safetensors", "data.json"


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


@dataclass(frozen=True)
class Packed:
    """An artifact as files: name -> content, the manifest among them as the last."""

    manifest: Manifest
    files: dict[str, bytes]


class DamagedError(Exception):
    """A folder is not what was written; the message says in what way."""


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
        files={name: {"bytes": len(content), "sha256": _sha256(content)} for name, content in files.items()},
        tensors={name: f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for name, t in tensors.items()},
        versions={
            "python": platform.python_version(),
            "torch": _version("torch"),
            "fedunlearn": _version("fedunlearn"),
        },
    )
    return Packed(manifest, {**files, MANIFEST: _manifest_to_bytes(dataclasses.asdict(manifest))})


def unpack(packed: Packed) -> Artifact:
    """The inverse of `pack`."""
    names = packed.manifest.tensors
    tensors = _tensors_from_bytes(packed.files[TENSORS]) if names else {}
    return Artifact({name: tensors[name] for name in names}, json.loads(packed.files[DATA]))


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` as the new folder `target`: all of them or, whatever happens, none. Raises RunError.

    The caller is the only one who writes `target`, so what others began to write there is left over from the dead.
    """
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    with writing(target):
        for left_over in target.parent.glob(f"{target.name}.tmp-*"):
            shutil.rmtree(left_over)
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
    manifest = read_manifest(folder)
    files = {}
    for name, expected in manifest.files.items():
        files[name] = content = _read_file(folder / name)
        if len(content) != expected["bytes"]:
            raise DamagedError(f"{name} has {len(content)} bytes instead of {expected['bytes']}")
        if _sha256(content) != expected["sha256"]:
            raise DamagedError(f"the checksum of {name} does not match")
    return Packed(manifest, files)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder, which holds its own checksum. Any changed byte raises DamagedError."""
    content = _read_file(folder / MANIFEST)
    try:
        body = json.loads(content)
        body.pop("checksum")
        manifest = Manifest(**body)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DamagedError(f"{MANIFEST} is not a manifest ({error})") from error
    if _manifest_to_bytes(body) != content:
        raise DamagedError(f"the checksum of {MANIFEST} does not match")
    return manifest


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


def _tensors_to_bytes(tensors: dict[str, Tensor]) -> bytes:
    if not tensors:  # spares the import of torch
        return safetensors.serialize({}, None)
    from safetensors.torch import save

    return save(tensors)


def _tensors_from_bytes(content: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(content)


def _manifest_to_bytes(body: dict[str, Any]) -> bytes:
    checksum = _sha256(json.dumps(body).encode())
    return json.dumps({**body, "checksum": checksum}, indent=1).encode() + b"\n"


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
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{path.name} is missing") from None
    except OSError as error:
        if error.errno in (errno.EIO, errno.EISDIR):  # a bad sector; anything else may be well tomorrow
            raise DamagedError(f"{path.name} cannot be read ({reason(error)})") from error
        raise RunError(f"cannot read {path}: {reason(error)}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
