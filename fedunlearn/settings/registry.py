"""Find everything that plugs in by name: datasets, models, methods, engines, audits …, ours and others'.

Ours are found by looking into the package (so a new file is enough); other people's through entry points in the group
of their kind (`fedunlearn.methods`, `fedunlearn.audits`, …), each leading to the same kind of object that our own files
hold. A plug-in that cannot be used costs one sentence, and an error only where it is asked for.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar, overload

from fedunlearn.errors import RequestError, listed, unknown
from fedunlearn.settings.schema import defaults

T = TypeVar("T")


class Member(Protocol):
    """What all kinds have in common: a name, and the frozen dataclass of the settings."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def settings(self) -> type:
        """A frozen dataclass: its defaults are the only copy, and a comment says what each field is."""

    @property
    def about(self) -> str:
        """What it is, in a few words, for those who read conf/."""


@dataclass(frozen=True)
class Kind:
    """Something that plugs in.

    `home`: the module that holds ours, or a package that is searched file by file, for `table`, a dict {name: member}.
    `member`: the class that members are instances of, as `module:Class`. It is imported when a member is asked for
    and not before, so that `fedunlearn --help` need not wait for torch.
    """

    name: str
    home: str
    table: str
    member: str

    @property
    def group(self) -> str:
        """The entry points of other packages."""
        return f"fedunlearn.{self.name}s"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("dataset", "fedunlearn.data", "DATASETS", "fedunlearn.data.sources:DatasetSource"),
        Kind("partitioner", "fedunlearn.data.partition", "PARTITIONERS", "fedunlearn.data.partition:PartitionScheme"),
        Kind("model", "fedunlearn.models", "MODELS", "fedunlearn.models.base:ModelFamily"),
        Kind("method", "fedunlearn.methods", "METHODS", "fedunlearn.federation.method:Method"),
        Kind("augmentation", "fedunlearn.augment", "AUGMENTATIONS", "fedunlearn.augment.base:Augmentation"),
        Kind("selector", "fedunlearn.select", "SELECTORS", "fedunlearn.select.base:Selector"),
        Kind("adapter", "fedunlearn.models.lora", "ADAPTERS", "fedunlearn.models.lora:Adapter"),
        Kind("repair", "fedunlearn.repair", "REPAIRS", "fedunlearn.federation.repair:Repair"),
        Kind("engine", "fedunlearn.engines", "ENGINES", "fedunlearn.engines.base:Engine"),
        Kind("format", "fedunlearn.deploy", "FORMATS", "fedunlearn.deploy.base:Format"),
        Kind("audit", "fedunlearn.audits", "AUDITS", "fedunlearn.audits.base:Audit"),
        Kind("task", "fedunlearn.tasks", "TASKS", "fedunlearn.tasks.base:Task"),
        Kind("tracker", "fedunlearn.tracking", "TRACKERS", "fedunlearn.tracking.base:TrackerKind"),
    )
}

SETTLED = ("task", "format")  # these leave nothing to choose


@dataclass(frozen=True)
class Plugins:
    """What other packages bring of a kind: what can be used, and a sentence about each of the others."""

    usable: Mapping[str, Member]
    problems: tuple[str, ...]


def built_in(kind: str) -> list[str]:
    """The names of ours alone, sorted."""
    return sorted(_ours(KINDS[kind]))


@overload
def find(what: str, name: str) -> Any: ...
@overload
def find(what: type[T], name: str) -> T: ...
def find(what: str | type, name: str) -> Any:
    """The member called `name` of a kind, which is given by its name or by the class of its members.

    Raises RequestError with the nearest spelling if there is none, or with the reason why a plug-in cannot be used.
    """
    kind = _kind(what)
    known = _ours(kind)
    if name in known:
        return known[name][1]
    others = _others(kind)
    if name not in others:
        raise unknown(kind.name, name, [*known, *others])
    return _load(kind, others[name])


def ours(kind: str) -> list[Any]:
    """This package's own members of that kind."""
    return [member for _, member in _ours(KINDS[kind]).values()]


def names(kind: str) -> list[str]:
    """The names of everything of that kind that can be used, sorted."""
    return sorted({*_ours(KINDS[kind]), *plugins(kind).usable})


def plugin_names(kind: str) -> list[str]:
    """The names that other packages claim for members of that kind, without loading any."""
    return sorted(_others(KINDS[kind]))


def plugins(kind: str) -> Plugins:
    """Loads what other packages bring of that kind. Where one of them has a name of ours, ours is used."""
    usable, problems = {}, []
    others = _others(KINDS[kind])
    taken = _ours(KINDS[kind]) if others else {}  # nobody's plug-ins, nothing to import
    for name, points in others.items():
        if name in taken:
            problems.append(f"{_packages(points)} a {kind} {name!r}: fedunlearn has one of that name, which is used")
            continue
        try:
            usable[name] = _load(KINDS[kind], points)
        except RequestError as error:
            problems.append(str(error))
    return Plugins(usable, tuple(problems))


def _kind(what: str | type) -> Kind:
    if isinstance(what, str):
        return KINDS[what]
    wanted = f"{what.__module__}:{what.__qualname__}"
    return next(kind for kind in KINDS.values() if kind.member == wanted)


def origin(kind: str, name: str) -> str | EntryPoint:
    """Where the member called `name` comes from: the name of our module that holds it, or another package's entry."""
    known = _ours(KINDS[kind])
    return known[name][0] if name in known else _others(KINDS[kind])[name][0]


@cache
def _ours(kind: Kind) -> dict[str, tuple[str, Any]]:
    """By name, the module that holds the member, and the member."""
    package = importlib.import_module(kind.home)
    searched = getattr(package, "__path__", None)
    modules = [f"{kind.home}.{info.name}" for info in pkgutil.iter_modules(searched)] if searched else [kind.home]
    found: dict[str, tuple[str, Any]] = {}
    for module in modules:
        members = getattr(importlib.import_module(module), kind.table, {})
        found.update({name: (module, member) for name, member in members.items()})
    return found


@cache
def _others(kind: Kind) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of every name, which should be one each."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=kind.group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


@cache
def _load(kind: Kind, points: tuple[EntryPoint, ...]) -> Member:
    point, *more = points
    if more:
        raise RequestError(f"{_packages(points)} a {kind.name} {point.name!r}: uninstall all but one, none is used")
    try:
        member: Member = _checked(kind, point.name, point.load())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: to end this process is not for a plug-in to decide
        text = str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
        reason = textwrap.shorten(text.rstrip(": "), 300, placeholder=" …")
        raise RequestError(
            f"the {kind.name} {point.name!r} of the package {_package(point)} cannot be used ({reason})"
        ) from error
    return member


def _checked(kind: Kind, name: str, found: Any) -> Any:
    """`found`, if it is a member of that kind with that name and settings that can be made. Raises what is wrong."""
    module, _, cls = kind.member.partition(":")
    if not isinstance(found, getattr(importlib.import_module(module), cls)):
        raise RequestError(f"its entry point leads to something of the type {type(found).__name__}, not {cls}")
    if found.name != name:
        raise RequestError(f"its entry point leads to one that is called {found.name!r}")
    if kind.name not in SETTLED:
        if not (isinstance(found.settings, type) and dataclasses.is_dataclass(found.settings)):
            raise RequestError(f"its settings, {found.settings!r}, are no dataclass")
        json.dumps(defaults(found.settings))
    return found


def _packages(points: tuple[EntryPoint, ...]) -> str:
    names = sorted({_package(point) for point in points})
    return f"the package {names[0]} brings" if len(names) == 1 else f"the packages {listed(names)} bring"


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
