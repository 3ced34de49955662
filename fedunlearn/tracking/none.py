"""No tracker: the files in the run's folder say everything. The default."""

from __future__ import annotations

from dataclasses import dataclass

from fedunlearn.tracking.base import SILENT, TrackerKind


@dataclass(frozen=True)
class NoTracking:
    """No settings."""


TRACKERS = {
    "none": TrackerKind(
        "none", NoTracking, "", "", lambda settings, run: SILENT, "the files in the run's folder say everything"
    )
}
