"""Find datasets, models, partitioners, methods, audits and trackers by name: ours, and those of other packages.

Ours are found by looking into the package (so a new file is enough); other people's through entry points in the
groups `fedunlearn.datasets`, `fedunlearn.models`, `fedunlearn.partitioners`, `fedunlearn.methods`,
`fedunlearn.audits` and `fedunlearn.trackers`, each pointing at the same kind of object that our own files hold.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fedunlearn.errors import RequestError, unknown

# kind -> (where to look, name of the module's table {name: object}). A package is searched file by file.
PLACES = {
    "dataset": ("fedunlearn.data.sources", "DATASETS"),
    "partitioner": ("fedunlearn.data.partition", "PARTITIONERS"),
    "model": ("fedunlearn.models", "MODELS"),
    "method": ("fedunlearn.methods", "METHODS"),
    "audit": ("fedunlearn.audits", "AUDITS"),
    "tracker": ("fedunlearn.tracking", "TRACKERS"),
}


def names(kind: str) -> list[str]:
    """All names of that kind, sorted."""
    return sorted({*_ours(kind), *_plugins(kind)})


def find(kind: str, name: str) -> Any:
    """The object of that kind called `name`. Raises RequestError with the nearest spelling if there is none."""
    ours = _ours(kind)
    if name in ours:
        return ours[name][1]
    plugins = _plugins(kind)
    if name not in plugins:
        raise unknown(kind, name, [*ours, *plugins])
    try:
        return plugins[name].load()
    except Exception as error:
        raise RequestError(f"the {kind} {name!r} of {plugins[name].value!r} cannot be loaded: {error}") from error


def origin(kind: str, name: str) -> str | EntryPoint:
    """Where the object called `name` comes from: the name of our module that holds it, or another package's entry."""
    ours = _ours(kind)
    return ours[name][0] if name in ours else _plugins(kind)[name]


@cache
def _ours(kind: str) -> dict[str, tuple[str, Any]]:
    """By name, the module that holds the object, and the object."""
    place, table = PLACES[kind]
    package = importlib.import_module(place)
    searched = getattr(package, "__path__", None)
    modules = [f"{place}.{info.name}" for info in pkgutil.iter_modules(searched)] if searched else [place]
    found: dict[str, tuple[str, Any]] = {}
    for module in modules:
        table_of = getattr(importlib.import_module(module), table, {})
        found.update({name: (module, member) for name, member in table_of.items()})
    return found


def _plugins(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"fedunlearn.{kind}s")}
