"""The source code that this process runs, as it was when the process started.

Python reads a module when it is first imported, which may be long before, or long after, a result is made by it. So
sources are read once, as early as possible (`remember`); keys are made of what was read then, and before and after
every computation it is asked whether the files are still the same (`Sources.changes`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePosixPath

OURS = "fedunlearn"
DIGITS = 24  # of a digest, as of a key in the store
NOT_INSTALLED = "not installed"
Stamp = tuple[int, ...]


@dataclass(frozen=True)
class SourceFile:
    """A file as this process found it when it first looked. `name`: its path, from its top-level package on."""

    name: str
    path: Path
    content: bytes = field(repr=False)
    stamp: Stamp | None

    @cached_property
    def module(self) -> str:
        """What Python calls it: `package.sub.module`, a package without its `__init__`."""
        return ".".join(PurePosixPath(self.name).with_suffix("").parts).removesuffix(".__init__")

    @cached_property
    def imports(self) -> frozenset[str]:
        """Every name that is imported anywhere in it, in functions too; of `from a import b`, both `a` and `a.b`."""
        if self.path.suffix != ".py":
            return frozenset()
        try:
            tree = ast.parse(self.content)
        except (SyntaxError, ValueError):  # it cannot be imported either
            return frozenset()
        package = self.module if self.path.stem == "__init__" else self.module.rpartition(".")[0]
        return frozenset(name for node in ast.walk(tree) for name in _imported(node, package))

    def changed(self) -> bool:
        """Does the file hold something else now? It is read again only where the file system says that it may."""
        return _stamp(self.path) != self.stamp and _read(self.path) != self.content


@dataclass(frozen=True)
class Sources:
    """Some source files, and the versions of installed distributions that they build on."""

    files: tuple[SourceFile, ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """24 hex digits. Neither line endings, nor the order of files, nor where they are make a difference."""
        told = hashlib.sha256(repr(sorted(self.versions.items())).encode())
        for file in sorted(self.files, key=lambda file: (file.name, file.content)):
            content = file.content.replace(b"\r\n", b"\n")
            told.update(f"\0{file.name}\0{len(content)}\0".encode() + content)
        return told.hexdigest()[:DIGITS]

    def changes(self) -> list[Path]:
        """The files that are no longer what this process read, in order."""
        return sorted({file.path for file in self.files if file.changed()})


def remember() -> None:
    """Read the sources of this package and of every package that plugs into it, now."""
    package(OURS)
    installed = metadata.entry_points()
    for group in installed.groups:
        for point in installed.select(group=group) if group.startswith(f"{OURS}.") else ():
            plugin(point)


@cache
def package(name: str) -> tuple[SourceFile, ...]:
    """All source files of the top-level package or module `name`; none where Python finds none. Read once."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        return ()
    if spec.submodule_search_locations is None:
        module = Path(spec.origin or "")
        return (_file(module.name, module),) if _is_source(module.name) else ()
    folders = [Path(folder) for folder in spec.submodule_search_locations]
    found = {path: f"{name}/{path.relative_to(folder).as_posix()}" for folder in folders for path in _below(folder)}
    return tuple(_file(found[path], path) for path in sorted(found))


def plugin(point: metadata.EntryPoint) -> Sources:
    """What is behind an entry point: its whole top-level package, and all that this imports and nobody installed.

    That is: every module of the same distribution, and (as other people's helpers may lie beside a module, or in a
    folder that PYTHONPATH names) every top-level package that is imported anywhere in them. Of packages that were
    installed from other distributions, the version stands for the source.
    """
    return _behind(point.value.partition(":")[0].partition(".")[0], _of_distribution(point.dist))


@cache
def _behind(top: str, own: frozenset[str]) -> Sources:
    found: dict[str, tuple[SourceFile, ...]] = {}
    versions: dict[str, str] = {}
    waiting = [top, *sorted(own)]
    while waiting:
        name = waiting.pop()
        if name in found or name in versions or name == OURS or name in sys.stdlib_module_names:
            continue
        files = package(name)
        if name not in {top, *own} and (installed := _installed(name, files)):
            versions[name] = installed
            continue
        found[name] = files
        waiting += sorted({imported.partition(".")[0] for file in files for imported in file.imports})
    return Sources(tuple(file for files in found.values() for file in files), versions)


def reached(start: str, among: Iterable[SourceFile]) -> tuple[SourceFile, ...]:
    """Those of `among` that the module `start` is made of: itself, what it imports, the packages around these."""
    known = {file.module: file for file in among}
    found: dict[str, SourceFile] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        waiting += [name.rpartition(".")[0]] if "." in name else []
        if name in known and name not in found:
            found[name] = known[name]
            waiting += known[name].imports
    return tuple(found[name] for name in sorted(found))


@cache
def version(distribution: str) -> str:
    """The version of an installed distribution, or `NOT_INSTALLED`."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        around = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*around, *([node.module] if node.module else [])])
        yield module
        yield from (f"{module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and _calls_import(node.func):
        yield from (one.value for one in node.args[:1] if isinstance(one, ast.Constant) and isinstance(one.value, str))


def _calls_import(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _of_distribution(held: metadata.Distribution | None) -> frozenset[str]:
    """The top-level packages and modules that a distribution consists of, as far as its metadata say."""
    if held is None:
        return frozenset()
    paths = [PurePosixPath(str(path)) for path in held.files or ()]
    files = {path.with_suffix("").parts[0] for path in paths if path.suffix == ".py"}
    return frozenset(name for name in {*files, *(held.read_text("top_level.txt") or "").split()} if name.isidentifier())


def _installed(name: str, files: Iterable[SourceFile]) -> str:
    """The distributions that installed the package `name`, with versions; empty for what nobody installed."""
    if not all(any(file.path.is_relative_to(folder) for folder in _site_folders()) for file in files):
        return ""
    return ", ".join(f"{one} {version(one)}" for one in sorted(set(_distributions().get(name, ()))))


@cache
def _site_folders() -> tuple[Path, ...]:
    """Where distributions are installed: also into environments that this one is laid over (as by `uv run --with`)."""
    folders = [*site.getsitepackages(), site.getusersitepackages(), *map(sysconfig.get_path, ("purelib", "platlib"))]
    below = [folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")]
    return tuple({Path(folder) for folder in [*folders, *below]})


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _below(folder: Path) -> Iterator[Path]:
    """The source files in a folder and all folders below it, links included."""
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(here, name) for name in files if _is_source(name) and Path(here, name).is_file())


def _is_source(name: str) -> bool:
    return name.endswith((".py", *EXTENSION_SUFFIXES))


def _file(name: str, path: Path) -> SourceFile:
    stamp = _stamp(path)  # before the content: what is written in between counts as a change
    return SourceFile(name, path, _read(path) or b"", stamp)


def _stamp(path: Path) -> Stamp | None:
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
