"""Where a job runs: its share of the machine's cores and its GPU, given the other jobs that run beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from joblib import cpu_count

from fedunlearn.settings.config import RunConfig


@dataclass(frozen=True)
class Slot:
    """A job among others. `number` counts from 0; `jobs` of the sweep (0: not known); `at_once` on this machine.

    `draws`: does the job draw its own figures? If not, the sweep's process does, while the next job trains.
    """

    number: int = 0
    jobs: int = 1
    at_once: int = 1
    cores: int | None = None  # given by the launcher; None: this process's share of the machine
    draws: bool = True

    @property
    def alone(self) -> bool:
        """Is this a single run, not a job of a sweep?"""
        return self.jobs == 1 and self.at_once == 1

    @property
    def title(self) -> str:
        """`job 7 of 45`."""
        return f"job {self.number + 1} of {self.jobs}" if self.jobs else f"job {self.number + 1}"


def of_job(launcher: Mapping[str, Any], number: int, jobs: int) -> Slot:
    """The place of job `number` of `jobs`, from the settings of Hydra's launcher.

    joblib says how many jobs run at once (`n_jobs`), submitit how many cores each was given (`cpus_per_task`);
    every other launcher is taken to run one job at a time.
    """
    at_once = 1
    if launcher.get("n_jobs") is not None:
        from joblib import effective_n_jobs

        at_once = max(1, min(effective_n_jobs(launcher["n_jobs"]), jobs or effective_n_jobs(-1)))
    draws = jobs == 1 or not str(launcher.get("_target_")).endswith("BasicLauncher")  # which runs jobs one by one, here
    return Slot(number, jobs, at_once, launcher.get("cpus_per_task"), draws)


def settled(config: RunConfig, slot: Slot) -> RunConfig:
    """The same run with `auto` replaced by a number of workers and a device for this very place."""
    engine = config.engine
    if engine.settings.workers == "auto":
        engine = replace(engine, settings=replace(engine.settings, workers=cores_for(slot)))
    return replace(config, engine=engine, device=device_for(config.device, slot))


def cores_for(slot: Slot) -> int:
    """How many cores the job may use, at least one."""
    share = max(1, int(cpu_count()) // slot.at_once)  # of those that this process may use, in a container as well
    return min(share, slot.cores) if slot.cores else share


def device_for(asked: str, slot: Slot) -> str:
    """`auto` among several jobs at once becomes one of the GPUs, in turn; anything else stays as it is."""
    gpus = torch.cuda.device_count() if asked == "auto" and slot.at_once > 1 else 0
    return f"cuda:{slot.number % gpus}" if gpus else asked
