"""The command line before Hydra sees it: what it asks for is checked here, so that mistakes cost one sentence."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedunlearn.errors import RequestError, unknown
from fedunlearn.files import is_folder
from fedunlearn.settings import registry
from fedunlearn.settings.config import CHOSEN_SECTIONS, RunConfig, from_omegaconf
from fedunlearn.settings.schema import defaults


def register_plugins() -> None:
    """Give what other packages bring an option in its Hydra group; say in one sentence each what cannot be used."""
    groups = {kind: group for group, kind in CHOSEN_SECTIONS.items()}
    for kind in registry.KINDS:
        found = registry.plugins(kind)
        for problem in found.problems if "COMP_LINE" not in os.environ else ():  # a shell completes a word: no remarks
            print(f"fedunlearn: {problem}", file=sys.stderr)
        for name, member in found.usable.items() if kind in groups else ():
            node = {"name": name, **defaults(member.settings)}
            ConfigStore.instance().store(group=groups[kind], name=name, node=node)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line as Hydra's parser understands it, with flags and overrides in any order."""
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[assignment]
    asked: argparse.Namespace = parser.parse_intermixed_args(arguments)
    return asked


def flags_first(arguments: list[str]) -> list[str]:
    """The same command line in the only order that Hydra takes: flags, then overrides."""
    words: list[str] = parse(arguments).overrides
    return [word for word in arguments if word not in words] + words


def only_shows(arguments: list[str]) -> bool:
    """Does this command line ask for nothing but a look, at the help or at a configuration?"""
    asked = parse(arguments)
    return bool(asked.help or asked.hydra_help or asked.shell_completion or asked.cfg or asked.info)


def check(arguments: list[str], conf: Path) -> None:
    """Raise RequestError if any job of this command line cannot be run as asked. Trains nothing."""
    asked = parse(arguments)
    if asked.config_dir and not is_folder(Path(asked.config_dir)):
        raise RequestError(f"--config-dir: there is no folder {asked.config_dir}")
    jobs = list(_distinct_jobs(_parse(asked.overrides), asked.multirun))
    from fedunlearn.runs import federations, folders, preflight  # these load torch

    federations.forget()
    for job in jobs:
        config = read(job, conf, asked.config_dir)
        preflight.check(config)
        if not asked.multirun:  # a sweep's jobs have folders of their own
            folders.check(Path(config.output.dir), config)


def _refuse(message: str) -> None:
    raise RequestError(f"{message}; `fedunlearn --help` shows what there is")


def _parse(words: list[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
        except HydraException as error:
            raise RequestError(f"{word!r} is not a setting of the form key=value ({_first_line(error)})") from error
    return parsed


def _distinct_jobs(parsed: list[Override], multirun: bool) -> Iterator[list[str]]:
    """The overrides of the first job, then of one job for every further value of every swept key."""
    swept = {i: _values(override) for i, override in enumerate(parsed) if override.is_sweep_override()}
    if swept and not multirun:
        word = parsed[next(iter(swept))].input_line
        raise RequestError(f"{word!r} gives several values: add -m (or --multirun) to run them all")
    first = [swept[i][0] if i in swept else str(override.input_line) for i, override in enumerate(parsed)]
    yield first
    for i, values in swept.items():
        yield from ([*first[:i], value, *first[i + 1 :]] for value in values[1:])


def _values(override: Override) -> list[str]:
    from hydra.core.override_parser.types import Glob

    if isinstance(override.value(), Glob):
        key = override.get_key_element().lstrip("+~")
        options = registry.names(CHOSEN_SECTIONS.get(key, key))
        return [f"{key}={name}" for name in override.value().filter(options)]  # type: ignore[union-attr]
    values = override.sweep_string_iterator()
    return [f"{override.get_key_element()}={value}" for value in values]


def read(words: list[str], conf: Path, extra: str | None = None) -> RunConfig:
    """Compose and check one job's configuration. Raises RequestError."""
    GlobalHydra.instance().clear()
    search = [f"hydra.searchpath=[{Path(extra).absolute().as_uri()}]"] if extra else []
    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            composed = compose("config", [*words, *search])
        return from_omegaconf(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, words, conf) from error
    finally:
        GlobalHydra.instance().clear()


def _explain(error: Exception, words: list[str], conf: Path) -> RequestError:
    """Hydra's message as one sentence with the nearest right spelling."""
    text = str(error)
    missing = re.search(r"Could not find '(\w+)/([^']+)'", text)
    if missing:
        return _no_such_member(missing[1], missing[2], conf)
    key = re.search(r"Could not (?:override|append to config) '([^']+)'", text)
    if key:
        parent, _, name = key[1].rpartition(".")
        return unknown(f"setting in {parent}" if parent else "setting", name, _siblings(parent, words, conf))
    return RequestError(_first_line(error))


def _no_such_member(group: str, name: str, conf: Path) -> RequestError:
    ours = [path.stem for path in (conf / group).glob("*.yaml")]
    others = registry.plugin_names(CHOSEN_SECTIONS[group]) if group in CHOSEN_SECTIONS else []
    if name in others:
        registry.find(CHOSEN_SECTIONS[group], name)  # which says why it cannot be used
    return unknown(group, name, [*ours, *others])


def _siblings(parent: str, words: list[str], conf: Path) -> list[str]:
    """The settings in `parent`, given the groups' members that were chosen."""
    chosen = [word for word in words if word.partition("=")[0] in CHOSEN_SECTIONS]
    with initialize_config_dir(str(conf), version_base="1.3"):
        composed = compose("config", chosen)
    node = OmegaConf.select(composed, parent) if parent else composed
    return [str(key) for key in node if key != "name"] if isinstance(node, DictConfig) else []


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
