"""Everything that can be found wrong with a run before it trains."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fedunlearn.errors import RequestError
from fedunlearn.runs import federations, pipeline
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.tracking import base as tracking


def check(config: RunConfig) -> None:
    """Everything that can be found wrong without training. Raises RequestError."""
    pipeline.check_method(config)
    tracking.check(registry.find("tracker", config.tracking.name))
    if not config.sweep.dry_run:
        check_writable(Path(config.output.dir).expanduser(), "output.dir")
    if config.store.enabled:
        check_writable(Path(config.store.dir).expanduser(), "store.dir")
    federations.opened(config)


def check_writable(folder: Path, key: str) -> None:
    """Raises RequestError if files cannot be made in `folder`, or it cannot be made. Leaves nothing behind."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise RequestError(f"{key}={folder} cannot be written to: {error.strerror or error}") from error
