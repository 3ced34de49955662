"""The rooms of the package: arrows run downwards and in no circle, wherever an import stands.

Imports in functions and those for types alone count as well. What the registry finds by name is no import: it is how
new members come in without anybody below knowing them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedunlearn

PACKAGE = Path(fedunlearn.__file__).parent
# From the ground up. A room may use those in the lines below its own, and no neighbour in its line.
ORDER = (
    ("errors", "randomness", "files", "plain", "sources"),
    ("settings",),
    ("store",),
    ("data",),
    ("models",),
    ("deploy", "select"),
    ("tasks",),
    ("augment",),
    ("federation",),
    ("engines", "methods", "repair"),
    ("results",),
    ("audits", "tracking", "report"),
    ("runs",),
    ("api", "cli"),
    ("__main__",),
)
# Where the order alone would allow more: all that these may use.
GROUND = {"errors", "randomness", "files", "plain"}
ONLY = {
    "report": {*GROUND, "settings", "results"},
    "tracking": {*GROUND, "settings", "results"},
    "audits": {*GROUND, "settings", "data", "models", "tasks", "results"},
    "results": {*GROUND, "settings"},
    "deploy": {*GROUND, "settings"},
    "augment": {*GROUND, "settings", "tasks"},
    "select": {*GROUND, "settings"},
}
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module by its name below the package: `federation.sgd`, or `federation` for an `__init__`."""
    paths = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in PACKAGE.rglob("*.py")}
    named = {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for parts, path in paths.items()}
    return {name: path for name, path in named.items() if name and "flower_app" not in name}


def imports(source: str, known: set[str]) -> Iterator[str]:
    """The modules of this package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides where it leads"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            below = name.removeprefix("fedunlearn.") if name.startswith("fedunlearn.") else ""
            while below and below not in known:
                below = below.rpartition(".")[0]
            if below:
                yield below


def arrows() -> dict[str, set[str]]:
    """module -> the modules that it imports."""
    paths = modules()
    return {name: set(imports(path.read_text("utf-8"), set(paths))) - {name} for name, path in paths.items()}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A path that ends where it began, or nothing."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            if found := walk(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def climbs(name: str, other: str) -> bool:
    """Does this import go up, to a neighbour, or where the room has nothing to do?"""
    here, there = name.partition(".")[0], other.partition(".")[0]
    return here != there and (FLOOR[there] >= FLOOR[here] or there not in ONLY.get(here, {there}))


GRAPH = arrows()


def test_every_room_has_its_place_in_the_order():
    assert {name.partition(".")[0] for name in GRAPH} == set(FLOOR)


def test_no_import_leads_back_to_where_it_began():
    assert circle(GRAPH) == []


@pytest.mark.parametrize("room", FLOOR)
def test_arrows_run_downwards(room):
    found = [
        f"{name} imports {other}" for name in sorted(GRAPH) for other in sorted(GRAPH[name]) if climbs(name, other)
    ]
    assert [line for line in found if line.partition(" ")[0].partition(".")[0] == room] == []


def test_the_test_sees_circles_and_arrows_upwards_wherever_they_stand():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    source = "if TYPE_CHECKING:\n    from fedunlearn.runs import job\ndef f():\n    import fedunlearn.methods.fucrt\n"
    assert set(imports(source, {"runs", "runs.job", "methods.fucrt"})) == {"runs.job", "methods.fucrt"}
    assert set(imports("from fedunlearn.store import key_of\nimport torch\n", {"store"})) == {"store"}
    assert climbs("settings.config", "data.types") and climbs("engines.local", "methods.fucrt")
    assert climbs("audits.base", "methods.fucrt") and climbs("report.page", "federation.sgd")
    assert not climbs("runs.job", "audits.base") and not climbs("data.types", "data.sources")
