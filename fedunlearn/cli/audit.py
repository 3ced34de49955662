"""`fedunlearn audit FILE`: a finished model, from a safetensors file, in the place of the unlearned one."""

from __future__ import annotations

from fedunlearn.errors import RequestError
from fedunlearn.runs.overrides import override

AUDIT = "audit"


def expand(arguments: list[str]) -> list[str]:
    """Replace `audit FILE` by the settings that it is short for, after all others: no saved method takes their place.

    Raises RequestError where no file is named.
    """
    if arguments[:1] != [AUDIT]:
        return arguments
    _, *rest = arguments
    if not rest or rest[0].startswith("-") or "=" in rest[0]:
        raise RequestError(f"{AUDIT} needs a model: fedunlearn {AUDIT} FILE.safetensors [key=value ...]")
    return [*rest[1:], "method=checkpoint", override("method.path", rest[0], prefix="")]
