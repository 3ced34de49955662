"""`fedunlearn-report DIR`: rebuild the tables, figures and page of a folder of runs, or say how its runs stand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fedunlearn.cli.signals import end_with_the_reader
from fedunlearn.errors import RequestError
from fedunlearn.report import runs


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0; with `--status`, 1 if a run failed; 2 for a folder that does not exist or holds no runs."""
    if argv is None:
        end_with_the_reader()
    options = _parser().parse_args(argv)
    screen = Console(highlight=False, markup=False)
    try:
        return _status(screen, options.folder) if options.status else _rebuild(screen, options)
    except RequestError as error:
        print(f"fedunlearn-report: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    about = "Tables, figures and a page from a folder of runs."
    parser = argparse.ArgumentParser(prog="fedunlearn-report", description=about)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run's folder, a sweep's, or any folder above runs")
    parser.add_argument("--figures", action="store_true", help="draw every run's figures again, not only missing ones")
    parser.add_argument("--status", action="store_true", help="list done, failed and missing runs; write nothing")
    parser.add_argument("--no-titles", action="store_true", help="draw figures without titles, as papers want them")
    return parser


def _rebuild(screen: Console, options: argparse.Namespace) -> int:
    from fedunlearn.report import formats, sweep  # drawing takes seconds to load, which --status need not wait for

    folder: Path = options.folder
    drawn, undrawn = sweep.draw_runs(folder, options.figures, not options.no_titles)
    report = sweep.build(folder, not options.no_titles, options.figures)
    for said in report.headlines:
        screen.print(said, style="bold", soft_wrap=True)
    screen.print(formats.to_rich(report.summary, report.declared))
    for line in [*(f"not in the table: {problem}" for problem in report.problems), *undrawn]:
        screen.print(line, soft_wrap=True)
    screen.print(f"wrote {len(report.files) + len(drawn)} files in {folder} and below", soft_wrap=True)
    return 0


def _status(screen: Console, folder: Path) -> int:
    found = runs.find(folder)
    counts = {status: sum(run.status == status for run in found) for status in ("done", "failed", "missing")}
    for run in found:
        reason = f": {run.reason}" if run.reason else ""
        screen.print(f"{run.status:8}{runs.relative(run, folder)}{reason}", soft_wrap=True)
    screen.print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return 1 if counts["failed"] else 0
