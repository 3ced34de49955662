"""Random streams. Every stream is derived from (seed, stage, round, client); nothing uses a global generator.

Two places of the program that name the same stream get the same numbers, whatever ran between them and on
whatever worker, which is what makes results independent of the engine and of the number of workers.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the stream named by `path` (such as `"train", "batches", round, client`)."""
    name = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *path: str | int) -> np.random.Generator:
    """A NumPy generator for the stream named by `path`."""
    return np.random.default_rng(derive(seed, *path))


def torch_stream(seed: int, *path: str | int) -> torch.Generator:
    """A CPU torch generator for the stream named by `path`."""
    return torch.Generator().manual_seed(derive(seed, *path))
