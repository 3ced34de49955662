"""Configurations from Hydra, in this process: composed, checked, and run as one job or as many.

The command line and Python go the same way. Hydra keeps what it is doing in global objects; here they are its own as
long as it is needed, and those of the process (which may be somebody's Hydra application) are put back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from fedunlearn.errors import RequestError, RunError, unknown
from fedunlearn.files import is_folder
from fedunlearn.settings import registry
from fedunlearn.settings.config import CHOSEN_SECTIONS, RunConfig, from_omegaconf
from fedunlearn.settings.schema import defaults

APART = (GlobalHydra, HydraConfig, JobRuntime, version.VersionBase)
# What Hydra's own plug-ins are called there, and the packages that bring them.
PACKAGES = {
    "sweeper/optuna": "hydra-optuna-sweeper",
    "sweeper/ax": "hydra-ax-sweeper",
    "sweeper/nevergrad": "hydra-nevergrad-sweeper",
    "launcher/joblib": "hydra-joblib-launcher",
    "launcher/submitit_local": "hydra-submitit-launcher",
    "launcher/submitit_slurm": "hydra-submitit-launcher",
    "launcher/ray": "hydra-ray-launcher",
    "launcher/rq": "hydra-rq-launcher",
}


def conf_dir() -> Path:
    """conf/: inside the package when installed from a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


@dataclass(frozen=True)
class Source:
    """Where configurations come from: `name`.yaml in the folder `conf`, after what lies in the folder `extra`."""

    conf: Path
    name: str = "config"
    extra: Path | None = None

    def check(self) -> None:
        """Raise RequestError where there is nothing of the kind."""
        for flag, folder in (("--config-path", self.conf), ("--config-dir", self.extra)):
            if folder and not is_folder(folder):
                raise RequestError(f"{flag}: there is no folder {folder}")
        there = {path.stem for folder in (self.conf, self.extra) if folder for path in folder.glob("*.yaml")}
        if self.name.removesuffix(".yaml") not in there:
            raise unknown("configuration", self.name, there)


@contextmanager
def opened(source: Source) -> Iterator[Hydra]:
    """Hydra, for the length of a block, with its globals apart from the process's. Raises RequestError."""
    source.check()
    Plugins.instance()  # Hydra's own leave their options in the store as they are first imported, and never again
    before = {kind: Singleton._instances.pop(kind, None) for kind in APART}
    nodes = ConfigStore.instance().repo
    ConfigStore.instance().repo = _copied(nodes)
    try:
        version.setbase("1.3")
        search = create_config_search_path(str(source.conf.absolute()))
        if source.extra:
            anchor = SearchPathQuery(provider="schema")
            search.prepend(provider="command-line", path=source.extra.absolute().as_uri(), anchor=anchor)
        register_plugins()
        yield Hydra.create_main_hydra2("fedunlearn", search)
    finally:
        ConfigStore.instance().repo = nodes
        for kind, instance in before.items():
            Singleton._instances.pop(kind, None)
            if instance is not None:
                Singleton._instances[kind] = instance


def _copied(nodes: dict[str, Any]) -> dict[str, Any]:
    return {name: _copied(node) if isinstance(node, dict) else node for name, node in nodes.items()}


def register_plugins(say: Callable[[str], None] | None = None) -> None:
    """Give what other packages bring an option in its Hydra group; `say` in one sentence each what cannot be used."""
    groups = {kind: group for group, kind in CHOSEN_SECTIONS.items()}
    for kind in registry.KINDS:
        found = registry.plugins(kind)
        if say:
            for problem in found.problems:
                say(problem)
        for name, member in found.usable.items() if kind in groups else ():
            node = {"name": name, **defaults(member.settings)}
            ConfigStore.instance().store(group=groups[kind], name=name, node=node)


def read(words: Sequence[str], conf: Path, extra: str | Path | None = None, name: str = "config") -> RunConfig:
    """Compose and check one job's configuration. Raises RequestError."""
    source = Source(conf, name, Path(extra) if extra else None)
    with opened(source) as hydra, explained(hydra, words, source):
        composed = hydra.compose_config(name, list(words), RunMode.RUN, with_log_configuration=False)
        return from_omegaconf(_without_hydra(composed))


def launch(words: Sequence[str], source: Source, task: Callable[[DictConfig], Any], multirun: bool) -> Any:
    """Have Hydra call `task` with the configuration of the job, or of every job, that the words ask for.

    Of one job, returns what the task returned. Raises RequestError where Hydra cannot, RunError where a sweeper or
    launcher gives up, what the task of a single job raised, and Ended where a callback did.
    """
    asked = [*words, f"hydra.mode={'MULTIRUN' if multirun else 'RUN'}"]
    with opened(source) as hydra, explained(hydra, words, source):
        if not multirun:
            return hydra.run(source.name, task, asked).return_value
        try:
            return hydra.multirun(source.name, task, asked)
        except (HydraException, OmegaConfBaseException, RequestError, RunError):
            raise
        except Exception as error:
            raise RunError(f"the sweep stopped ({type(error).__name__}: {first_line(error)})") from error


def _without_hydra(composed: DictConfig) -> DictConfig:
    with open_dict(composed):
        del composed["hydra"]
    return composed


@contextmanager
def explained(hydra: Hydra, words: Sequence[str], source: Source) -> Iterator[None]:
    """Raise RequestError in place of what Hydra says about the words."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise _explanation(error, hydra, words, source) from error


def _explanation(error: Exception, hydra: Hydra, words: Sequence[str], source: Source) -> RequestError:
    """Hydra's message as one sentence with the nearest right spelling."""
    text = str(error)
    missing = re.search(r"Could not find '([\w/]+)/([^'/]*)'", text)
    if missing:
        return _no_such_member(missing[1], missing[2], hydra)
    key = re.search(r"Could not (?:override|append to config) '([^']+)'", text)
    if key:
        group = key[1].rpartition(".")[0].partition(".")[0]
        if _is_swept(group, words):
            return RequestError(f"several {group}s are tried: write ++{key[1]}=… for a setting that all of them have")
        return _no_such_setting(key[1], _composed(words, hydra, source))
    there = re.search(r"Could not append to config. An item is already at '([^']+)'", text)
    if there:
        return RequestError(f"{there[1]} is there already: give {there[1]}=… without the +")
    return RequestError(first_line(error))


def _no_such_member(group: str, name: str, hydra: Hydra) -> RequestError:
    package = PACKAGES.get(f"{group.removeprefix('hydra/')}/{name}") if group.startswith("hydra/") else None
    if package:
        return RequestError(
            f"{group}={name} needs the package {package}, which is not installed: pip install {package}"
        )
    others = registry.plugin_names(CHOSEN_SECTIONS[group]) if group in CHOSEN_SECTIONS else []
    if name in others:
        registry.find(CHOSEN_SECTIONS[group], name)  # which says why it cannot be used
    options = hydra.config_loader.get_group_options(group)
    if group.startswith("hydra/"):
        options = [
            *options,
            *(known.rpartition("/")[2] for known in PACKAGES if f"hydra/{known}".startswith(f"{group}/")),
        ]
    return unknown(group, name, [*options, *others])


def _no_such_setting(key: str, composed: DictConfig) -> RequestError:
    """The outermost part of a dotted key that is not there, and what is there in its place."""
    there, node, (name, *inner) = list[str](), composed, key.split(".")
    while inner and isinstance(node.get(name), DictConfig):
        there, node, (name, *inner) = [*there, name], node[name], inner
    if inner and there == ["audit"] and name in registry.names("audit"):
        return RequestError(f"audit.{name} is not among the audits that were chosen: write +{key}=… to add it")
    siblings = [each for each in map(str, node) if each != "name" and (there or each != "hydra")]
    return unknown(f"setting in {'.'.join(there)}" if there else "setting", name, siblings)


def _is_swept(group: str, words: Sequence[str]) -> bool:
    """Do the words ask for several members of a group? Hydra then looks at those of the default member alone."""
    return group in CHOSEN_SECTIONS and any(word.startswith(f"{group}=") and "," in word for word in words)


def _composed(words: Sequence[str], hydra: Hydra, source: Source) -> DictConfig:
    """The configuration that the chosen members of groups make, without settings of one's own."""
    groups = {*CHOSEN_SECTIONS, *hydra.config_loader.list_groups("")}
    chosen = [word for word in words if word.partition("=")[0].lstrip("+") in groups]
    return hydra.compose_config(source.name, chosen, RunMode.RUN, with_log_configuration=False)


def first_line(error: Exception) -> str:
    """The first line of what it says that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
