"""A finished model from a file in the place of the unlearned one: somebody else's, to be audited.

Nothing is trained but the references. `fedunlearn audit FILE` is short for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedunlearn.errors import RequestError
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, retain_only
from fedunlearn.models.given import read
from fedunlearn.settings.config import RunConfig
from fedunlearn.tasks.base import EVERY


@dataclass(frozen=True)
class Checkpoint:
    """Which model."""

    path: str | None = None  # must be given: a safetensors file with the tensors of the configured model


def check(settings: Checkpoint, config: RunConfig) -> None:
    """Is there a file to read? Raises RequestError."""
    if not settings.path:
        raise RequestError("method checkpoint needs method.path, the safetensors file of a model")


def tensors(settings: Checkpoint) -> dict[str, Tensor]:
    """The file's tensors by name. Raises RequestError if it is no safetensors file."""
    return read(Path(settings.path or "").expanduser())


METHODS = {
    "checkpoint": Method(
        name="checkpoint",
        title="a model from a file",
        settings=Checkpoint,
        objective=lambda settings, spec: Objective(retain_only),
        tasks=EVERY,
        rounds=lambda config: 0,
        check=check,
        given=tensors,
        about="a finished model, made elsewhere: nothing is trained but what it is compared with",
    )
}
