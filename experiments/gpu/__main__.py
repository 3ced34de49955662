"""All that is to be measured on a GPU, most valuable first, in slices that go on where they were stopped.

    experiments/gpu/run.sh --data DIR               # everything; hours, most of them for the table of the last slices
    experiments/gpu/run.sh --data DIR --minutes 9   # as much as fits into nine minutes; the same command goes on
    python -m experiments.gpu --quick               # tiny, on whatever there is: does it work?

A slice is a command that may take nine minutes at a time: engines against the CPU, stacked clients against one by one,
1,000 clients with 50 a round, an epoch of ResNet-18 against training without clients, and then FUCRT's table on
CIFAR-10, cell by cell. Written into results/gpu/CARD while it goes: slices.json (what is done and how long it took),
engines.csv, benchmarks/, and cells.csv. DIR holds CIFAR-10; without it images are made up and the table is left out.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import torch

from experiments import sweeps
from experiments.gpu import slices
from experiments.gpu.plan import Place, planned

MINUTES = 9.0  # of a slice, at a time


def main() -> None:
    asked = arguments()
    if not asked.quick and not torch.cuda.is_available():
        sys.exit("there is no GPU here that PyTorch can use: --quick tries the same on the CPU, and measures nothing")
    if asked.quick:
        with tempfile.TemporaryDirectory(prefix="fedunlearn-") as folder:
            work_off(asked, Place(Path(folder) / "results", Path(folder) / "work", None, quick=True))
        return
    data = asked.data.expanduser().absolute() if asked.data else None
    work_off(asked, Place(asked.out or sweeps.ROOT / "results" / "gpu" / card(), asked.work.absolute(), data))


def work_off(asked: argparse.Namespace, place: Place) -> None:
    """Run what is not done yet; exit status 1 if a slice failed, 3 if time ran out."""
    until = time.monotonic() + 60 * asked.minutes if asked.minutes else float("inf")
    ledger = slices.Ledger(place.out / "slices.json", card())
    left = slices.run(planned(place), ledger, 60 * MINUTES, until, again=asked.again)
    print(ledger.summary())
    sys.exit({"failed": 1, "cut off": 3}.get(left, 0))


def card() -> str:
    """The GPU's name as that of a folder."""
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def arguments() -> argparse.Namespace:
    made = sweeps.plain_parser("gpu", __doc__)
    made.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: results/gpu/CARD)")
    made.add_argument("--minutes", type=float, help="begin nothing after that many; default: until all is done")
    made.add_argument("--again", action="store_true", help="try once more what failed")
    return made.parse_args()


if __name__ == "__main__":
    main()
