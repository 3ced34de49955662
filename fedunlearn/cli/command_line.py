"""The command line before Hydra sees it: what it asks for is checked here, so that mistakes cost one sentence."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.utils import get_args_parser

from fedunlearn.errors import RequestError
from fedunlearn.runs import overrides
from fedunlearn.runs.composing import Source, conf_dir, read

__all__ = ["Command", "check", "command_of", "flags_first", "read"]

SHOWS = ("help", "hydra_help", "shell_completion", "cfg", "info")
DOES = ("cfg", "info", "shell_completion", "run", "multirun")
MULTIRUN = "hydra.mode=MULTIRUN"


@dataclass(frozen=True)
class Command:
    """A command line taken apart. `shows`: it asks for nothing but a look, at the help or at a configuration."""

    words: tuple[str, ...]
    source: Source
    multirun: bool
    shows: bool


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line as Hydra's parser understands it, with flags and overrides in any order."""
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[assignment]
    asked: argparse.Namespace = parser.parse_intermixed_args(arguments)
    return asked


def flags_first(arguments: list[str]) -> list[str]:
    """The same command line in the only order that Hydra takes: flags, then overrides, with paths that it can read."""
    words: list[str] = parse(arguments).overrides
    return [word for word in arguments if word not in words] + overrides.with_paths(words)


def command_of(arguments: list[str]) -> Command:
    """Raises RequestError for what is no command line of ours."""
    asked = parse(arguments)
    if asked.experimental_rerun is not None:
        raise RequestError("--experimental-rerun would run code from a file: use --rerun RUN/config.yaml")
    given = [f"--{name}" for name in DOES if getattr(asked, name)]
    if len(given) > 1:
        raise RequestError(f"a command can do only one of {' and '.join(given)}")
    conf = Path(asked.config_path) if asked.config_path else conf_dir()
    extra = Path(asked.config_dir) if asked.config_dir else None
    source = Source(conf, asked.config_name or "config", extra)
    multirun = bool(asked.multirun) or MULTIRUN in asked.overrides
    return Command(tuple(asked.overrides), source, multirun, any(getattr(asked, name) for name in SHOWS))


def check(command: Command) -> None:
    """Raise RequestError if any job of this command line cannot be run as asked. Trains nothing."""
    jobs = list(overrides.distinct_jobs(overrides.parse(command.words), command.multirun))
    from fedunlearn.runs import federations, folders, preflight  # these load torch

    federations.forget()
    source = command.source
    for job in jobs:
        config = read(job, source.conf, source.extra, source.name)
        preflight.check(config)
        if not command.multirun:  # a sweep's jobs have folders of their own
            folders.check(Path(config.output.dir), config)


def _refuse(message: str) -> None:
    raise RequestError(f"{message}; `fedunlearn --help` shows what there is")
