"""How the commands take signals: SIGTERM stops a run as Ctrl-C does; a reader that leaves ends what is only shown."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM: whoever minds being interrupted minds this."""


def outcome(stop: KeyboardInterrupt) -> tuple[str, int]:
    """What has happened, in a word, and the exit status that shells give to it."""
    return ("Terminated", 143) if isinstance(stop, Terminated) else ("Interrupted", 130)


@contextmanager
def heeding_sigterm() -> Iterator[None]:
    """Raise Terminated at a SIGTERM during the block; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # only there can a handler be set
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated


def end_with_the_reader() -> None:
    """From here on, end silently as soon as nobody reads any more, as in `| head`. For what only shows something."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
