import resource
import sys

import pytest
import torch

from fedunlearn.engines.memory import keep_freed

PAGE = 4096
SIZE = 48 * 2**20  # bytes, above all that the C library keeps by itself


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
def test_freed_memory_is_not_asked_for_again():
    if not keep_freed():
        pytest.skip("another C library than glibc")
    counts = []
    for _ in range(20):
        torch.empty(SIZE, dtype=torch.uint8).fill_(1)
        counts.append(faults())
    assert counts[-1] - counts[9] < SIZE / PAGE, "after some times, the memory is there"
