"""How much memory a process and all of its children take, shared pages counted once (Linux)."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

EVERY = 1.0  # seconds between two looks; each takes a few hundredths of one from whom it looks at


class Peak:
    """Watches a process while it runs; `bytes` is the most that it and its children took together."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.bytes = 0
        self._process = process
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self._process.poll() is None:
            self.bytes = max(self.bytes, sum(map(taken, family(self._process.pid))))
            threading.Event().wait(EVERY)


def family(root: int) -> list[int]:
    """The process `root` and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = [root]
    for number in found:
        found += children.get(number, [])
    return found


def taken(number: int) -> int:
    """Bytes of a process, its share of what it shares with others (PSS); 0 once it is gone."""
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
