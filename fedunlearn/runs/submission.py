"""A run with engine=deployment, seen from outside: handed to a SuperLink by `flwr run`, and followed until it ends.

Inside the Flower app (`fedunlearn.runs.app`) the same run has the SuperNodes as its clients.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from fedunlearn.engines import deployment
from fedunlearn.settings.config import RunConfig

FINISHED = "finished:completed"


def is_needed(config: RunConfig) -> bool:
    """Is this a run for a SuperLink, and this process not the one that the SuperLink started for it?"""
    return config.engine.name == "deployment" and not deployment.is_connected()


def submit(config: RunConfig, folder: Path, words: Sequence[str], say: Callable[[str], None]) -> int:
    """Hand the run to the SuperLink `engine.superlink`, show its log until it ends; the exit status. Never raises."""
    absolute = replace(
        config,
        output=replace(config.output, dir=str(folder.absolute())),
        store=replace(config.store, dir=str(Path(config.store.dir).expanduser().absolute())),
    )
    superlink = config.engine.settings.superlink
    where = [superlink] if superlink else []
    with tempfile.TemporaryDirectory(prefix="fedunlearn-") as scratch:
        app, settings = Path(scratch, "fedunlearn-app"), Path(scratch, "run.toml")
        with as_file(files("fedunlearn.runs") / "flower_app") as definition:
            shutil.copytree(definition, app)
        text = json.dumps(absolute.as_dict(), sort_keys=True)
        settings.write_text(
            f"config = {json.dumps(text)}\ncommand = {json.dumps(shlex.join(words))}\n", encoding="utf-8"
        )
        flwr = ["run", str(app), *where, "--run-config", str(settings)]
        started = _flwr(*flwr, "--format", "json")
        if not started.get("success"):
            say(f"the SuperLink did not take the run: {started.get('error-message', 'no reason given')}")
            return 1
    run = str(started["run-id"])
    say(f"run {run} at the SuperLink; results in {absolute.output.dir} on its machine")
    subprocess.run([_flwr_command(), "log", run, *where, "--stream"], check=False)
    status = _status(_flwr("list", *where, "--run-id", run, "--format", "json"))
    if status is None:
        say(f"the SuperLink no longer says what became of run {run}: see {absolute.output.dir} on its machine")
        say("once it is back, the same command goes on from the last round that was kept there")
        return 1
    say(f"run {run}: {status}")
    return 0 if status == FINISHED else 1


def _status(answer: dict[str, Any]) -> str | None:
    """What `flwr list` says about a run; None if it says nothing, as when the SuperLink is gone."""
    runs = answer.get("runs") or [{}]
    status = runs[0].get("status")
    return None if status is None else str(status)


def _flwr(*arguments: str) -> dict[str, Any]:
    """The answer of Flower's own command, or why there is none."""
    try:
        done = subprocess.run([_flwr_command(), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        return {"error-message": f"flwr cannot be started ({error})"}
    start = done.stdout.find("{")
    try:
        answer: dict[str, Any] = json.loads(done.stdout[start:])
    except ValueError:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return {"error-message": lines[-1] if lines else "flwr said nothing"}
    return answer


def _flwr_command() -> str:
    """Flower's own command, of the environment that this runs in."""
    beside = Path(sys.executable).with_name("flwr")
    return str(beside) if beside.exists() else "flwr"
