"""A model that was made elsewhere in place of the unlearned one: is it of the configured architecture, and its audits.

Original and retrained models are those of any run of the same configuration, under the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from fedunlearn.errors import RequestError
from fedunlearn.runs import federations, folders, pipeline, preflight, steps
from fedunlearn.runs.console import Console
from fedunlearn.settings.config import RunConfig
from fedunlearn.tracking.base import Tracker


def check(config: RunConfig) -> None:
    """Everything that can be found wrong with the audit of a given model, but for the model. Raises RequestError."""
    preflight.check_places(config)
    pipeline.check_given(config)
    if config.store.enabled:
        folders.check_writable(Path(config.store.dir).expanduser(), "store.dir")


def tensors_of(model: nn.Module | Mapping[str, Tensor], config: RunConfig) -> dict[str, Tensor]:
    """A copy of the model's tensors on the CPU, as the configured architecture has them. Raises RequestError."""
    given = model.state_dict() if isinstance(model, nn.Module) else model
    if not isinstance(given, Mapping) or not all(isinstance(value, Tensor) for value in given.values()):
        raise RequestError(f"a model is a torch module or its state dict, not {type(model).__name__}")
    return steps.checked(given, config, federations.opened(config))


def audited(config: RunConfig, console: Console, tracker: Tracker, tensors: Mapping[str, Tensor]) -> pipeline.Outcome:
    """The outcome of a run in which the given model stands for the unlearned one."""
    return pipeline.carried_out(config, partial(steps.of_model, tensors=tensors), console, tracker)
