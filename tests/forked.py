"""The command line in a process of its own that need not import what this one has: forked from one that did already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LOADED = ["fedunlearn.cli.main", "fedunlearn.runs.job", "fedunlearn.report.sweep", "sklearn.datasets", "flwr_datasets"]


def command(words: Sequence[str], folder: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`fedunlearn WORDS…` in `folder`, with the packages in `site` installed: status, stdout and stderr."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    child = context.Process(target=_carry_out, args=(tuple(words), folder, site))
    child.start()
    child.join()
    assert child.exitcode is not None
    said = [(folder / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(list(words), child.exitcode, *said)


def _carry_out(words: Sequence[str], folder: Path, site: Path | None) -> None:
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if site:
        sys.path.insert(0, str(site))
    sys.argv = ["fedunlearn", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from fedunlearn.cli import main

    main.main()
