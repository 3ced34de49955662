"""Commands worked off one after another, each for so long at a time, with a ledger of what is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fedunlearn.files import write_text

GRACE = 30.0  # seconds to save what there is after being told to stop
MOST = 60  # times that a slice is let go on, before it counts as failed: nine hours
DONE, FAILED, CUT = "done", "failed", "cut off"


@dataclass(frozen=True)
class Slice:
    """A command that goes on where it was stopped by SIGTERM. `after`: called whenever it has ended, cut off or not."""

    name: str
    words: tuple[str, ...]
    after: Callable[[], None] = field(default=lambda: None, compare=False)


@dataclass
class Entry:
    """What became of a slice: `seconds` and `tries` of all its times together; `said`: its last words if it failed."""

    status: str = ""
    seconds: float = 0.0
    tries: int = 0
    said: str = ""


class Ledger:
    """The entries of all slices that were begun, in a file that is whole after each of them."""

    def __init__(self, path: Path, card: str) -> None:
        self._path, self._card = path, card
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"slices": {}}
        self._entries = {name: Entry(**entry) for name, entry in kept["slices"].items()}

    def of(self, name: str) -> Entry:
        """The entry of a slice, empty if it was never begun."""
        return self._entries.get(name, Entry())

    def note(self, name: str, entry: Entry) -> None:
        """Keep it."""
        self._entries[name] = entry
        kept = {"card": self._card, "slices": {name: asdict(entry) for name, entry in self._entries.items()}}
        write_text(self._path, json.dumps(kept, indent=1) + "\n")

    def summary(self) -> str:
        """A line for each slice."""
        return "\n".join(f"{entry.status:8} {name:40} {entry.seconds:8.0f} s" for name, entry in self._entries.items())


def run(planned: Iterable[Slice], ledger: Ledger, limit: float, until: float, again: bool = False) -> str:
    """Work off what is neither done nor failed (unless `again`), for `limit` seconds at a time, till the time `until`.

    `failed` if a slice has; else `cut off` if time ran out; else `done`.
    """
    states = set()
    for each in planned:
        if ledger.of(each.name).status == FAILED and again:
            ledger.note(each.name, Entry())
        while ledger.of(each.name).status not in (DONE, FAILED) and time.monotonic() < until:
            ledger.note(each.name, _tried(each, ledger.of(each.name), min(limit, until - time.monotonic())))
            each.after()
        states.add(ledger.of(each.name).status or CUT)
    return next((state for state in (FAILED, CUT) if state in states), DONE)


def _tried(each: Slice, before: Entry, limit: float) -> Entry:
    print(f"== {each.name}", flush=True)
    since = time.monotonic()
    status, said = _carried_out(each.words, limit)
    seconds, tries = before.seconds + time.monotonic() - since, before.tries + 1
    if status is None and tries < MOST:
        return Entry(CUT, seconds, tries)
    if status is None:
        return Entry(FAILED, seconds, tries, f"not finished after {tries} times {limit:.0f} s")
    return Entry(FAILED if status else DONE, seconds, tries, said if status else "")


def _carried_out(words: tuple[str, ...], limit: float) -> tuple[int | None, str]:
    """Exit status and last words; no status if the command had to be stopped."""
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=limit)
        except BaseException as error:
            _stop(process)
            if isinstance(error, subprocess.TimeoutExpired):
                return None, ""
            raise
    sys.stdout.write(said)
    return process.returncode, said[-2000:]


def _stop(process: subprocess.Popen[str]) -> None:
    """End it with all that it has started: first kindly."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE)
            return
