"""Work in a process of its own that need not import what this one has: forked from one that did already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any


def started(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """`target(*arguments)` in a process of its own, which has imported all that tests/loaded.py names."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.loaded"])
    child = context.Process(target=target, args=arguments)
    child.start()
    return child


def command(words: Sequence[str], folder: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`fedunlearn WORDS…` in `folder`, with the packages in `site` installed: status, stdout and stderr."""
    return finished(begun("fedunlearn.cli.main", words, folder, site), words, folder)


def begun(program: str, words: Sequence[str], folder: Path, site: Path | None = None, read: bool = True) -> BaseProcess:
    """The `main` of the module `program`, started. Unless its output is `read`, nobody does: it is a broken pipe."""
    return started(_carry_out, program, tuple(words), folder, site, read)


def finished(child: BaseProcess, words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What became of it, once it has ended."""
    child.join()
    assert child.exitcode is not None
    said = [(folder / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(list(words), child.exitcode, *said)


def _carry_out(program: str, words: Sequence[str], folder: Path, site: Path | None, read: bool) -> None:
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if not read:
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
    if site:
        sys.path.insert(0, str(site))
    sys.argv = ["fedunlearn", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(import_module(program).main())
