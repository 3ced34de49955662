"""Weights & Biases: one W&B run per run; a run that goes on continues the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fedunlearn.results.summary import Summary
from fedunlearn.tracking.base import Tracked, TrackerKind, audit_values


@dataclass(frozen=True)
class WandB:
    """Settings."""

    project: str = "fedunlearn"
    entity: str | None = None  # user or team; null: your own
    group: str | None = None  # runs shown together, such as those of a sweep
    mode: Literal["online", "offline", "disabled"] = "online"  # the second: files only, for `wandb sync` later


class Client:
    """Logs curves against the round of their stage, and the audits as the run's summary."""

    def __init__(self, settings: WandB, run: Tracked) -> None:
        import wandb

        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            mode=settings.mode,
            id=hashlib.sha256(str(run.folder).encode()).hexdigest()[:16],
            resume="allow",
            name=run.name,
            dir=str(run.folder),
            config=run.config,
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("*", step_metric="round")

    def measured(self, stage: str, number: int, values: Mapping[str, float]) -> None:
        """A point on each of the stage's curves."""
        self._run.log({"round": number, **{f"{stage}/{name}": value for name, value in values.items()}})

    def finished(self, summary: Summary) -> None:
        """The audits."""
        self._run.summary.update(audit_values(summary))

    def close(self, status: str) -> None:
        """Anything but `done` is marked as failed."""
        self._run.finish(exit_code=0 if status == "done" else 1)


TRACKERS = {
    "wandb": TrackerKind(
        "wandb", WandB, "wandb", "wandb", Client, "needs pip install 'fedunlearn[wandb]' and, unless offline, a login"
    )
}
