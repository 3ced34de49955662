"""Everything that can be found wrong with a run before it trains."""

from __future__ import annotations

from pathlib import Path

from fedunlearn.deploy import backends
from fedunlearn.errors import RequestError
from fedunlearn.federation.federation import Federation
from fedunlearn.files import is_folder
from fedunlearn.results import objective
from fedunlearn.runs import federations, folders, pipeline, steps
from fedunlearn.runs.declarations import check_needs, declared
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.store import Store
from fedunlearn.tracking import base as tracking


def check(config: RunConfig) -> None:
    """Everything that can be found wrong without training. Raises RequestError."""
    pipeline.check_method(config)
    check_places(config)
    federation = federations.opened(config)
    pipeline.check_model(config, federation)
    pipeline.check_repair(config, federation)
    pipeline.check_augmentation(config, federation)
    pipeline.check_augmented_method(config, federation)
    steps.given_tensors(config, federation)
    if config.store.enabled:
        check_store(config, federation)


def check_places(config: RunConfig) -> None:
    """What can be found wrong before any data are read, whatever makes the unlearned model. Raises RequestError."""
    backends.check(config.deploy)
    check_needs(config)
    objective.check(config.sweep.objective, declared(config))
    tracking.check(registry.find("tracker", config.tracking.name))
    if not config.sweep.dry_run:
        folders.check_writable(Path(config.output.dir).expanduser(), "output.dir")


def check_store(config: RunConfig, federation: Federation) -> None:
    """A store that cannot be written to must hold all that the run needs. Raises RequestError if it does not."""
    folder = Path(config.store.dir).expanduser()
    try:
        folders.check_writable(folder, "store.dir")
    except RequestError as error:
        if not is_folder(folder):
            raise
        store = Store(folder)
        needed = steps.of_run(config, federation).kept
        missing = [step.name for step in needed if not store.peek(step.kind, step.determinants())]
        if missing:
            raise RequestError(f"{error}, and it does not hold {missing[0]} of this run") from error
