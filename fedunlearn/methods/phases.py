"""How a method that works in phases divides its budget, `unlearn.rounds`, among them."""

from __future__ import annotations

from fedunlearn.errors import RequestError
from fedunlearn.settings.config import RunConfig


def phase(asked: int | None, share: float, rounds: int, least: int = 1) -> int:
    """Rounds of a phase: as many as `asked` for or, without that, `share` of all `rounds`, but `least` of them."""
    return asked if asked is not None else min(rounds, max(least, round(share * rounds)))


def check_fit(config: RunConfig, **asked: int | None) -> None:
    """Raises RequestError if the phases `asked` for (by the names of their settings) are longer than the budget."""
    given = {name: rounds for name, rounds in asked.items() if rounds is not None}
    if sum(given.values()) > config.unlearn.rounds:
        sums = " + ".join(f"method.{name}={rounds}" for name, rounds in given.items())
        raise RequestError(f"{sums} is more than the budget, unlearn.rounds={config.unlearn.rounds}")
