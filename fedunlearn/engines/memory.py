"""Memory that is freed stays with the process, for the next batch.

A batch's activations, gradients and copies of a large model come and go in every step. By default the C library gives
what is freed back to the system and asks for it anew, page by page.
"""

from __future__ import annotations

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt(3)
LARGE = 256 * 2**20  # bytes; a single tensor above this still goes back at once
FREE = 2**30  # bytes that may lie idle at the end of the heap


@cache
def keep_freed() -> bool:
    """From now on, in this process and its copies; False where the C library has no such choice (outside Linux)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE) and mallopt(M_TRIM_THRESHOLD, FREE))
