"""How much a share of a few samples can mean."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from fedunlearn.results.findings import Finding

FEW = 30  # below so many samples, shares of them are shown with their intervals
Z = 1.959964  # of a standard normal variable, 95 % lie between -Z and Z


def wilson(share: float, samples: float) -> tuple[float, float]:
    """The 95 % interval of a share that was seen in `samples` samples (Wilson, JASA 22, 1927), within [0, 1].

    Raises ValueError for a share outside [0, 1], or without samples.
    """
    if not 0 <= share <= 1 or samples <= 0:
        raise ValueError(f"{share} is no share of {samples} samples")
    spread = Z * Z / samples
    middle = (share + spread / 2) / (1 + spread)
    half = Z * sqrt(share * (1 - share) / samples + spread / (4 * samples)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def forgotten(samples: Mapping[str, int]) -> tuple[int, str]:
    """How many samples of what is to be forgotten the audits look at, and of which split.

    Of the test split where it has some (a class was forgotten), else of the training split; (0, "") if not known.
    """
    for split, name in (("test", "test"), ("train", "training")):
        if number := samples.get(f"forget_{split}", 0):
            return number, name
    return 0, ""


def behind(finding: Finding, samples: Mapping[str, int]) -> int:
    """How many forget samples a finding is a share of; 0 where it is none, or that is not known."""
    split = "train" if finding.name.endswith("_train") else "test"
    return samples.get(f"forget_{split}", 0) if finding.finest == "forget sample" else 0


def few(samples: Mapping[str, int]) -> bool:
    """Are there so few that every share of them needs its interval?"""
    return 0 < forgotten(samples)[0] < FEW


def caution(samples: Mapping[str, int]) -> list[str]:
    """A sentence where there are few; else none."""
    number, split = forgotten(samples)
    if not few(samples):
        return []
    low, high = wilson(0.5, number)
    sample = "sample" if number == 1 else "samples"
    return [
        f"only {number} {split} {sample} of what is to be forgotten: chance alone moves a share of them by up to "
        f"{100 * (high - low) / 2:.0f} points to either side"
    ]
