"""engine=deployment: a run as a Flower app, handed to a SuperLink by `flwr run` and carried out by its SuperNodes.

Outside of the app, a run is submitted; inside (`fedunlearn.runs.app`), its stages talk to the SuperNodes through
the grid that Flower gave the app.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

from flwr.serverapp import Grid

from fedunlearn.engines.ordered_grid import OrderedGrid
from fedunlearn.errors import RequestError
from fedunlearn.settings.config import RunConfig

_GRID: ContextVar[Grid] = ContextVar("grid")  # of the Flower app that this process serves


@contextmanager
def connected(grid: Grid) -> Iterator[None]:
    """Inside this, runs with engine=deployment have the clients behind `grid`."""
    token = _GRID.set(grid)
    try:
        yield
    finally:
        _GRID.reset(token)


def is_connected() -> bool:
    """Is this the process of a Flower app?"""
    return _GRID.get(None) is not None


def grid_of(nodes: int) -> Grid:
    """The app's grid, once `nodes` SuperNodes are there; the same one for all stages of a run."""
    grid = _GRID.get(None)
    if grid is None:
        raise RequestError("engine=deployment needs a Flower app to run in: use the command fedunlearn, or flwr run")
    return _ordered(grid, nodes)


@lru_cache(maxsize=1)
def _ordered(grid: Grid, nodes: int) -> OrderedGrid:
    return OrderedGrid(grid, nodes, window=nodes)


def submit(config: RunConfig, folder: Path, words: Sequence[str], say: Callable[[str], None]) -> int:
    """Hand the run to the SuperLink `engine.superlink`, show its log until it ends; the exit status."""
    absolute = replace(
        config,
        output=replace(config.output, dir=str(folder.absolute())),
        store=replace(config.store, dir=str(Path(config.store.dir).expanduser().absolute())),
    )
    where = [config.engine.superlink] if config.engine.superlink else []
    with tempfile.TemporaryDirectory(prefix="fedunlearn-") as scratch:
        app, settings = Path(scratch, "fedunlearn-app"), Path(scratch, "run.toml")
        with as_file(files("fedunlearn.runs") / "flower_app") as definition:
            shutil.copytree(definition, app)
        text = json.dumps(absolute.as_dict(), sort_keys=True)
        settings.write_text(f"config = {json.dumps(text)}\ncommand = {json.dumps(' '.join(words))}\n", encoding="utf-8")
        flwr = ["run", str(app), *where, "--run-config", str(settings)]
        started = _flwr(*flwr, "--format", "json")
        if not started.get("success"):
            say(f"the SuperLink did not take the run: {started.get('error-message', 'no reason given')}")
            return 1
    run = str(started["run-id"])
    say(f"run {run} at the SuperLink; results in {absolute.output.dir} on its machine")
    subprocess.run([_flwr_command(), "log", run, *where, "--stream"], check=False)
    status = str(_flwr("list", *where, "--run-id", run, "--format", "json")["runs"][0]["status"])
    say(f"run {run}: {status}")
    return 0 if status == "finished:completed" else 1


def _flwr(*arguments: str) -> dict:
    done = subprocess.run([_flwr_command(), *arguments], capture_output=True, text=True, check=False)
    start = done.stdout.find("{")
    try:
        answer: dict = json.loads(done.stdout[start:])
    except ValueError:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return {"success": False, "error-message": lines[-1] if lines else "flwr said nothing"}
    return answer


def _flwr_command() -> str:
    """Flower's own command, of the environment that this runs in."""
    beside = Path(sys.executable).with_name("flwr")
    return str(beside) if beside.exists() else "flwr"
