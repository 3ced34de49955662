"""The command `fedunlearn`: check the request, compose the configuration with Hydra, run, say where the results are."""

from __future__ import annotations

import os

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # before Flower is imported: nothing leaves the machine
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shlex
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from fedunlearn import sources
from fedunlearn.cli import command_line, rerun
from fedunlearn.errors import RequestError

INTERRUPTED = 130


def conf_dir() -> Path:
    """conf/: inside the package when installed from a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def main() -> None:
    """Entry point of `fedunlearn` and `python -m fedunlearn`."""
    sources.remember()
    command_line.register_plugins()
    try:
        arguments = command_line.flags_first(rerun.expand(sys.argv[1:]))
        command_line.check(arguments, conf_dir())
    except RequestError as error:
        sys.exit(refuse(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.argv[1:] = arguments
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task)()
    except KeyboardInterrupt as stop:
        print(f"\nInterrupted. Finished rounds are kept; go on with\n  {again(arguments, stop)}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def task(composed: DictConfig) -> None:
    """One job. Imported here, so that `--help` does not wait for torch."""
    sources.remember()  # in a process that a launcher started for the job
    from fedunlearn.runs import job

    job.task(composed)


def again(arguments: list[str], stop: KeyboardInterrupt) -> str:
    """The command that goes on in the same folder, which an interrupted job has left as a note."""
    notes = getattr(stop, "__notes__", [])
    given = any(word.startswith("output.dir=") for word in arguments)
    folder = [f"output.dir={note}" for note in notes[:1] if not given]
    return shlex.join(["fedunlearn", *arguments, *folder])


def refuse(error: RequestError) -> int:
    """One sentence, no traceback."""
    print(f"fedunlearn: {error}", file=sys.stderr)
    return 2
