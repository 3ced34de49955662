"""The command `fedunlearn`: check the request, compose the configuration with Hydra, run, say where the results are."""

from __future__ import annotations

import os
import platform
import shlex
import sys

import hydra
from omegaconf import DictConfig

from fedunlearn import sources
from fedunlearn.cli import audit, command_line, rerun, signals
from fedunlearn.errors import Ended, RequestError, RunError
from fedunlearn.runs import composing
from fedunlearn.runs.composing import conf_dir

__all__ = ["conf_dir", "main"]


def main() -> None:
    """Entry point of `fedunlearn` and `python -m fedunlearn`."""
    sources.remember()
    arguments = None
    try:
        if "--version" in sys.argv[1:]:
            print(versions())
            return
        with signals.heeding_sigterm():
            composing.register_plugins(_remark)
            sys.argv[1:] = arguments = checked(sys.argv[1:])
            run(command_line.command_of(arguments))
    except (RequestError, RunError) as error:
        sys.exit(refuse(error))
    except Ended as end:
        if end.error is not None:
            refuse(end.error)
        sys.exit(end.code)
    except KeyboardInterrupt as stop:
        said, status = signals.outcome(stop)
        kept = "" if arguments is None else f" Finished rounds are kept; go on with\n  {again(arguments, stop)}"
        print(f"\n{said}.{kept}", file=sys.stderr)
        sys.exit(status)


def versions() -> str:
    """`fedunlearn 0.1.0 (torch 2.11.0, flwr 1.41.0, Python 3.11.7)`."""
    others = ", ".join(f"{name} {sources.version(name)}" for name in ("torch", "flwr"))
    return f"fedunlearn {sources.version('fedunlearn')} ({others}, Python {platform.python_version()})"


def checked(given: list[str]) -> list[str]:
    """The command line in the order that Hydra takes. Raises RequestError if it cannot be run as asked."""
    arguments = command_line.flags_first(rerun.expand(audit.expand(given)))
    command = command_line.command_of(arguments)
    if command.shows:
        command.source.check()
        signals.end_with_the_reader()
    else:
        command_line.check(command)
    return arguments


def run(command: command_line.Command) -> None:
    """Do what the command says."""
    if command.shows:  # Hydra's own commands read sys.argv
        hydra.main(version_base="1.3", config_path=str(command.source.conf.absolute()), config_name="config")(task)()
    else:
        composing.launch(command.words, command.source, task, command.multirun)


def task(composed: DictConfig) -> float | None:
    """One job. Imported here, so that `--help` does not wait for torch."""
    sources.remember()  # in a process that a launcher started for the job
    from fedunlearn.runs import job

    return job.task(composed)


def again(arguments: list[str], stop: KeyboardInterrupt) -> str:
    """The command that goes on in the same folder, which an interrupted job has left as a note."""
    notes = getattr(stop, "__notes__", [])
    given = any(word.startswith("output.dir=") for word in arguments)
    folder = [f"output.dir={note}" for note in notes[:1] if not given]
    return shlex.join(["fedunlearn", *arguments, *folder])


def refuse(error: Exception) -> int:
    """One sentence, no traceback, then what the error brings along; the exit status."""
    for line in [composing.first_line(error), *getattr(error, "__notes__", [])]:
        print(f"fedunlearn: {line}", file=sys.stderr)
    return 2 if isinstance(error, RequestError) else 1


def _remark(problem: str) -> None:
    if "COMP_LINE" not in os.environ:  # a shell completes a word: no remarks
        print(f"fedunlearn: {problem}", file=sys.stderr)
