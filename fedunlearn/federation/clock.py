"""Where the time of a stage goes, part by part."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Stopwatch:
    """Splits the time of one thread among named parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def restart(self) -> None:
        """What happened since the last lap belongs to no part."""
        self._since = time.perf_counter()

    def lap(self, part: str) -> None:
        """What happened since the last lap belongs to `part`."""
        now = time.perf_counter()
        self.add(part, now - self._since)
        self._since = now

    def add(self, part: str, seconds: float) -> None:
        """Seconds that somebody else spent on `part`."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds


class Interval:
    """Says when something is to be done that is not to be done more often than every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.begin()

    def begin(self) -> None:
        """It was done now, or is to be done for the first time when the seconds have passed."""
        self._since = time.monotonic()

    def is_due(self) -> bool:
        """Have the seconds passed?"""
        return time.monotonic() - self._since >= self._seconds


# What the stopwatch of a stage's server tells apart; the clients' two are added up over the clients.
CLIENT_DATA, CLIENT_WORK = "client data", "client work"
PREPARATION, WAITING, AGGREGATION = "preparation", "waiting", "aggregation"
EVALUATION, CHECKPOINT = "evaluation", "checkpoint"


def breakdown(seconds: Mapping[str, float], workers: int) -> dict[str, float]:
    """Seconds of the clock by part; together they are the time that the rounds took.

    While `workers` clients at a time train, the server adds up what arrives: of the time from the first message to
    the last reply, what the clients' work does not fill is aggregation as far as that went on, and else messages
    (which includes workers that have nothing left to do at the end of a round).
    """
    data, work = (seconds.get(part, 0.0) / workers for part in (CLIENT_DATA, CLIENT_WORK))
    adding = seconds.get(AGGREGATION, 0.0)
    rest = max(0.0, seconds.get(WAITING, 0.0) + adding - data - work)
    return {
        "preparation": seconds.get(PREPARATION, 0.0),
        "data": data,
        "local training": work,
        "messages": max(0.0, rest - adding),
        "aggregation": min(rest, adding),
        "evaluation": seconds.get(EVALUATION, 0.0),
        "checkpoint": seconds.get(CHECKPOINT, 0.0),
    }
