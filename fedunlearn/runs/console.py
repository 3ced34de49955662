"""What the user sees while a run goes on; the same lines, without colours and bars, go to log.txt."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import rich.console
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fedunlearn.plain import shortened

QUIET_SECONDS = 10.0  # without a terminal, progress is a line at most this often

Advance = Callable[[int, str], None]  # (rounds done, text beside the bar)


class _Screen(rich.console.Console):
    """A terminal or pipe that may go away: the run goes on without it, and its log has everything."""

    def on_broken_pipe(self) -> None:
        """Where rich would end the process: whatever is printed from here on goes nowhere."""
        self.quiet = True
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (no file, but a place for a descriptor)
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Console:
    """Prints to the terminal and into a log file.

    `prefix` starts every line on the screen; with one there are no bars, because several jobs share the terminal.
    `quiet`: the log file alone. In a notebook lines are plain text, as in a pipe.
    """

    def __init__(self, log: IO[str] | None = None, prefix: str = "", quiet: bool = False) -> None:
        plain = False if rich.console.Console().is_jupyter else None  # whatever the kernel says of itself
        self.screen = _Screen(highlight=False, soft_wrap=True, quiet=quiet, force_jupyter=False, force_terminal=plain)
        self._log, self._prefix = log, prefix
        self._bars = self.screen.is_terminal and not prefix

    def say(self, text: str, style: str = "") -> None:
        """One line of text."""
        self.screen.print(self._prefix + text, style=style, markup=False)
        self.record(text)

    def warn(self, text: str) -> None:
        """A warning, cut short on the screen; the log file has all of it."""
        self.screen.print(self._prefix + shortened(text), style="yellow", markup=False)
        self.record(text)

    def show(self, picture: RenderableType) -> None:
        """A table or panel."""
        self.screen.print(picture)
        self.keep(picture)

    def keep(self, picture: RenderableType) -> None:
        """A table or panel for the log file alone."""
        if self._log:
            sheet = rich.console.Console(width=140, color_system=None, force_terminal=False, force_jupyter=False)
            with sheet.capture() as captured:
                sheet.print(picture)
            self._write(captured.get())

    def record(self, text: str) -> None:
        """A line for the log file alone."""
        self._write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def _write(self, text: str) -> None:
        """A log that cannot be written, as on a full disk, ends with a remark; it never ends the run."""
        if self._log is None:
            return
        try:
            self._log.write(text)
            self._log.flush()
        except OSError as error:
            self._log = None
            self.say(f"log.txt cannot be written any more: {error.strerror or error}", style="yellow")

    @contextmanager
    def progress(self, what: str, total: int, unit: str = "rounds") -> Iterator[Advance]:
        """A bar over `total`, or a line every few seconds where there is no terminal."""
        started = time.perf_counter()
        said, latest = started, ""
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.screen,
            transient=True,
            disable=not self._bars,
        ) as bar:
            task = bar.add_task(f"{what:<12}", total=total, text="")

            def advance(done: int, text: str) -> None:
                nonlocal said, latest
                bar.update(task, completed=done, text=text)
                now, latest = time.perf_counter(), text
                if not self._bars and now - said > QUIET_SECONDS:
                    said = now
                    self.say(f"{what}: {done} of {total} {unit}  {text}")

            yield advance
        result = latest if unit == "rounds" else ""
        self.say(f"{what}: {total} {unit} in {time.perf_counter() - started:.1f} s  {result}".rstrip())


@contextmanager
def logged_to(path: Path, prefix: str = "", quiet: bool = False) -> Iterator[Console]:
    """A console whose lines are also appended to the file at `path`. Raises OSError if it cannot be opened."""
    log = path.open("a", encoding="utf-8")
    try:
        yield Console(log, prefix, quiet)
    finally:
        with suppress(OSError):  # what could not be written was said before
            log.close()
