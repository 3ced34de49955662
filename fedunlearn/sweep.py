"""What happens around a Hydra multirun: at its end the runs become one table and figure, and failures are counted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from fedunlearn.console import Console
from fedunlearn.report import sweep, tables


class SweepCallback(Callback):
    """Hydra calls this in the process that started the sweep, whatever launcher ran the jobs."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Build the sweep's report; exit status 1 if any run failed."""
        folder = Path(config.hydra.sweep.dir)
        console = Console()
        report = sweep.build(folder)
        console.show(tables.to_rich(report.summary))
        console.say(f"Results: {folder}")
        for path in report.files:
            if path.parent == folder.resolve():
                console.say(f"  {path}")
        for problem in report.problems:
            console.say(problem, style="red")
        if report.problems:
            sys.exit(1)
