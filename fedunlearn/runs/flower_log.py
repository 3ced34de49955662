"""Flower's own remarks: into the log of the run that they are about, and no further unless something is wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

NAME = "flwr"


class _Recorder(logging.Handler):
    """Records every remark; errors go to the handlers that were there before as well."""

    def __init__(self, record: Callable[[str], None], others: Sequence[logging.Handler]) -> None:
        super().__init__()
        self._record, self._others = record, others

    def emit(self, record: logging.LogRecord) -> None:
        self._record(f"{record.levelname} Flower: {record.getMessage()}")
        for other in self._others if record.levelno >= logging.ERROR else ():
            other.handle(record)


@contextmanager
def flower_logged(record: Callable[[str], None]) -> Iterator[None]:
    """For the length of a block, `record` what Flower's logger says; then it is as it was."""
    logger = logging.getLogger(NAME)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:] = [_Recorder(record, handlers)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate
