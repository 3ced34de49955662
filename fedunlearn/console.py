"""What the user sees while a run goes on; the same lines, without colours and bars, go to log.txt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import rich.console
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_SECONDS = 10.0  # without a terminal, progress is a line at most this often

Advance = Callable[[int, str], None]  # (rounds done, text beside the bar)


class Console:
    """Prints to the terminal and into a log file."""

    def __init__(self, log: IO[str] | None = None) -> None:
        self.screen = rich.console.Console(highlight=False, soft_wrap=True)
        self._log = log

    def say(self, text: str, style: str = "") -> None:
        """One line of text."""
        self.screen.print(text, style=style, markup=False)
        self.record(text)

    def show(self, picture: RenderableType) -> None:
        """A table or panel."""
        self.screen.print(picture)
        if self._log:
            rich.console.Console(file=self._log, width=140).print(picture)

    def record(self, text: str) -> None:
        """A line for the log file alone."""
        if self._log:
            self._log.write(f"{time.strftime('%H:%M:%S')} {text}\n")
            self._log.flush()

    @contextmanager
    def progress(self, what: str, rounds: int) -> Iterator[Advance]:
        """A bar over `rounds`, or a line every few seconds where there is no terminal."""
        started = time.perf_counter()
        last = [started, ""]
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.screen,
            transient=True,
            disable=not self.screen.is_terminal,
        ) as bar:
            task = bar.add_task(f"{what:<12}", total=rounds, text="")

            def advance(done: int, text: str) -> None:
                bar.update(task, completed=done, text=text)
                now = time.perf_counter()
                last[1] = text
                if not self.screen.is_terminal and now - float(last[0]) > QUIET_SECONDS:
                    last[0] = now
                    self.say(f"{what}: round {done} of {rounds}, {text}")

            yield advance
        self.say(f"{what}: {rounds} rounds in {time.perf_counter() - started:.1f} s  {last[1]}")


@contextmanager
def logged_to(path: Path) -> Iterator[Console]:
    """A console whose lines are also appended to the file at `path`."""
    with path.open("a", encoding="utf-8") as log:
        yield Console(log)
