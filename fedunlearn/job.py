"""One job of a Hydra run or sweep: run the pipeline in its folder and leave a readable account there, come what may."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fedunlearn import overrides, pipeline
from fedunlearn.config import RunConfig
from fedunlearn.console import Console, logged_to
from fedunlearn.errors import RequestError, RunError
from fedunlearn.federation.world import open_world
from fedunlearn.report import figures, tables
from fedunlearn.report.files import write_text
from fedunlearn.summary import metric_lines, summarise, write_run, write_setting


def task(composed: DictConfig) -> None:
    """What Hydra calls for every job. A single run ends the process with its status; a sweep goes on."""
    single = HydraConfig.get().mode == RunMode.RUN
    folder = Path(HydraConfig.get().runtime.output_dir)
    words = list(HydraConfig.get().overrides.task)
    status = execute(pipeline.with_output(overrides.from_hydra(composed), str(folder)), folder, words)
    if single and status:
        sys.exit(status)


def execute(config: RunConfig, folder: Path, words: list[str]) -> int:
    """Run `config` in `folder`; the exit status. Never raises, except for Ctrl-C."""
    logging.getLogger("flwr").setLevel(logging.ERROR)  # Flower's own round-by-round log; ours says the same
    command = shlex.join(["fedunlearn", *words])
    folder.mkdir(parents=True, exist_ok=True)
    with logged_to(folder / "log.txt") as console:
        console.record(command)
        try:
            if finished(folder, config):
                console.say(f"{folder}: finished already, nothing to do", style="dim")
                return 0
            write_setting(folder, config)
            report(pipeline.run(config, console), folder, command, console)
        except RequestError as error:
            return fail(folder, config, command, console, str(error), 2)
        except RunError as error:
            return fail(folder, config, command, console, str(error), 1)
        except Exception as error:
            console.record(traceback.format_exc())
            return fail(folder, config, command, console, f"{type(error).__name__}: {error}", 1)
    return 0


def report(outcome: pipeline.Outcome, folder: Path, command: str, console: Console) -> None:
    """Write the run's files and figures, and show its table."""
    summary = summarise(outcome, command)
    write_run(folder, summary, metric_lines(outcome))
    drawn = figures.draw_run(folder)
    console.show(tables.to_rich(tables.summary_table(tables.tidy([folder]))))
    for warning in summary["warnings"]:
        console.say(f"Warning: {warning}", style="yellow")
    console.say(f"Results: {folder}")
    for path in drawn:
        if path.suffix == ".png":
            console.say(f"  {path}")


def fail(folder: Path, config: RunConfig, command: str, console: Console, reason: str, status: int) -> int:
    """Leave a failed summary behind and say where to look."""
    summary = {"status": "failed", "reason": reason, "command": command, "config": config.as_dict()}
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    console.record(reason)
    print(f"fedunlearn: {reason}", file=sys.stderr)
    if status == 1:
        print(f"fedunlearn: see {folder / 'log.txt'}; the same command goes on from the last round", file=sys.stderr)
    return status


def finished(folder: Path, config: RunConfig) -> bool:
    """Is this very run done in this folder, by the code that is running now?"""
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(summary.get("status") == "done" and summary.get("config") == config.as_dict())


def preflight(config: RunConfig) -> None:
    """Everything that can be found wrong without training. Raises RequestError."""
    pipeline.check_method(config)
    check_writable(Path(config.output.dir).expanduser(), "output.dir")
    check_writable(Path(config.store.dir).expanduser(), "store.dir")
    open_world(config)


def check_writable(folder: Path, key: str) -> None:
    """Raises RequestError if files cannot be made in `folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".fedunlearn-write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RequestError(f"{key}={folder} cannot be written to: {error.strerror or error}") from error
