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
from fedunlearn.cli import command_line, rerun, signals
from fedunlearn.errors import RequestError


def conf_dir() -> Path:
    """conf/: inside the package when installed from a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def main() -> None:
    """Entry point of `fedunlearn` and `python -m fedunlearn`."""
    sources.remember()
    arguments = None
    try:
        with signals.heeding_sigterm():
            command_line.register_plugins()
            sys.argv[1:] = arguments = checked(sys.argv[1:])
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task)()
    except RequestError as error:
        sys.exit(refuse(error))
    except KeyboardInterrupt as stop:
        said, status = signals.outcome(stop)
        kept = "" if arguments is None else f" Finished rounds are kept; go on with\n  {again(arguments, stop)}"
        print(f"\n{said}.{kept}", file=sys.stderr)
        sys.exit(status)


def checked(given: list[str]) -> list[str]:
    """The command line in the order that Hydra takes. Raises RequestError if it cannot be run as asked."""
    arguments = command_line.flags_first(rerun.expand(given))
    if command_line.only_shows(arguments):
        signals.end_with_the_reader()
    else:
        command_line.check(arguments, conf_dir())
    return arguments


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
