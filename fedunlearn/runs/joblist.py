"""The jobs of a sweep, listed before any of them runs, so that one that is missing is known to be missing."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

from fedunlearn.files import write_text

LIST = "sweep.json"


@dataclass(frozen=True)
class Job:
    """A job of a sweep: what Hydra calls it with, and where its results go. `composed`: its whole configuration."""

    number: int
    folder: Path
    overrides: tuple[str, ...]
    composed: DictConfig

    def settings(self) -> DictConfig:
        """The job's configuration without Hydra's own."""
        own = copy.deepcopy(self.composed)
        with open_dict(own):
            del own["hydra"]
        return own


def of_sweep(config: DictConfig) -> list[Job]:
    """All jobs that Hydra's own sweeper will launch for this composed command; empty if another sweeper decides."""
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return []
    loader = GlobalHydra.instance().config_loader()
    words = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create(loader).parse_overrides([*words, *config.hydra.overrides.task])
    batches = BasicSweeper.split_arguments(parsed, None)
    composed = [loader.load_sweep_config(config, list(words)) for words in batches[0]]
    return [_job(number, words, one) for number, (words, one) in enumerate(zip(batches[0], composed, strict=True))]


def _job(number: int, words: Sequence[str], composed: DictConfig) -> Job:
    with open_dict(composed):
        composed.hydra.job.num = number
        composed.hydra.job.id = number
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)  # ${hydra:...} in the folder's name looks there
    try:
        folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir).absolute()
    finally:
        HydraConfig.instance().cfg = before
    return Job(number, folder, tuple(words), composed)


def write_list(folder: Path, command: str, jobs: Iterable[Job]) -> None:
    """`sweep.json`: the command, and every job's folder (as seen from the sweep's) and overrides."""
    listed = [{"dir": _seen_from(folder, job.folder), "overrides": list(job.overrides)} for job in jobs]
    write_text(folder / LIST, json.dumps({"command": command, "jobs": listed}, indent=1) + "\n")


def count(folder: Path) -> int:
    """How many jobs the sweep in `folder` has; 0 if that is not known."""
    try:
        return len(json.loads((folder / LIST).read_text(encoding="utf-8"))["jobs"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def varying(jobs: Sequence[Job]) -> list[str]:
    """For each job, the overrides that not all jobs share, as in `method=fucrt seed=1`."""
    shared = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(word for word in job.overrides if word not in shared) or "this run" for job in jobs]


def _seen_from(folder: Path, other: Path) -> str:
    folder = folder.absolute()
    return other.relative_to(folder).as_posix() if other.is_relative_to(folder) else str(other)
