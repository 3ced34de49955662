"""How much memory and time a selector takes for one class of many samples.

python -m experiments.replay.memory NAME [SAMPLES]   # 50,000 if nothing is said; a tenth is kept
"""

from __future__ import annotations

import resource
import sys
import time

import torch

from fedunlearn.select.base import Selector
from fedunlearn.settings import registry

DIMENSIONS = 16


def main(name: str, samples: str = "50000") -> None:
    selector, stream = registry.find(Selector, name), torch.Generator().manual_seed(0)
    points = torch.randn(int(samples), DIMENSIONS, generator=stream, dtype=torch.float64)
    before, started = _peak(), time.perf_counter()
    selector.choose(points, len(points) // 10, selector.settings(), stream)
    print(f"{name}: {time.perf_counter() - started:.0f} s, {_peak():.0f} MiB in all ({before:.0f} before)")


def _peak() -> float:
    """The most that this process held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
