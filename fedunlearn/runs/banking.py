"""Which finished stages a bank of a run's references needs."""

from __future__ import annotations

from pathlib import Path

from fedunlearn.errors import RequestError
from fedunlearn.runs import federations, folders, steps
from fedunlearn.settings import config as configuration


def references_of(folder: Path, kinds: tuple[str, ...]) -> set[tuple[str, str]]:
    """Kind and key of every step of these kinds that the run in `folder` has, on the data that are there now.

    Raises RequestError where there is no finished run.
    """
    summary = folders.summary_in(folder)
    saved = summary.get("config")
    if summary.get("status") != "done" or not isinstance(saved, dict):
        raise RequestError(f"there is no finished run in {folder}")
    config = configuration.load(saved)
    return {
        (step.kind, step.key) for step in steps.of_run(config, federations.opened(config)).kept if step.kind in kinds
    }
