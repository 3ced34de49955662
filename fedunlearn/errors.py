"""The two ways a run can go wrong, and the sentence that says so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MANY = 30  # names, more than one wants to read


class RequestError(ValueError):
    """What the user asked for cannot be done; raised before any training, reported in one sentence, exit status 2."""


class RunError(RuntimeError):
    """A run that started could not be finished; exit status 1. Finished stages and rounds stay in the store."""


class HopelessError(RunError):
    """A run that the same command would end in the same way: a setting must change first."""


class Ended(SystemExit):
    """How code that Hydra calls ends a command, as Hydra goes on after any Exception. `error`: why, if that is news."""

    def __init__(self, status: int, error: Exception | None = None) -> None:
        super().__init__(status)
        self.error = error


def listed(values: Iterable[object]) -> str:
    """`a, b or c`: the allowed values as a person would say them."""
    words = [str(value) for value in values]
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def unknown(what: str, given: object, allowed: Iterable[object]) -> RequestError:
    """The error for a name that is not one of `allowed`, with the nearest right spelling if one is near.

    All that is allowed is listed too, unless it is much and one is near.
    """
    words = sorted(str(value) for value in allowed)
    folded = {word.casefold(): word for word in words}
    near = difflib.get_close_matches(str(given).casefold(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]}?" if near else ""
    choice = f": choose {listed(words)}" if words and not (near and len(words) > MANY) else ""
    return RequestError(f"there is no {what} called {str(given)!r}{choice}{hint}")
