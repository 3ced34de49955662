"""A model that was made elsewhere in place of the unlearned one: is it of the configured architecture, and its audits.

Original and retrained models are those of any run of the same configuration, under the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from fedunlearn.errors import RequestError, listed
from fedunlearn.runs import federations, folders, pipeline, preflight, steps
from fedunlearn.runs.console import Console
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.tracking.base import Tracker

NAMED = 3  # how many tensors a sentence names


def check(config: RunConfig) -> None:
    """Everything that can be found wrong with the audit of a given model, but for the model. Raises RequestError."""
    preflight.check_places(config)
    if config.engine.name == "deployment":
        raise RequestError("a model of your own is audited in this process: choose another engine than deployment")
    for chosen in config.audit:
        if registry.find("audit", chosen.name).shadows(chosen.settings):
            raise RequestError(
                f"audit.{chosen.name} trains shadow models, which only a method can make forget: it is not for a "
                "model of your own"
            )
    if config.store.enabled:
        folders.check_writable(Path(config.store.dir).expanduser(), "store.dir")


def tensors_of(model: nn.Module | Mapping[str, Tensor], config: RunConfig) -> dict[str, Tensor]:
    """A copy of the model's tensors on the CPU, as the configured architecture has them. Raises RequestError."""
    given = model.state_dict() if isinstance(model, nn.Module) else model
    if not isinstance(given, Mapping) or not all(isinstance(value, Tensor) for value in given.values()):
        raise RequestError(f"a model is a torch module or its state dict, not {type(model).__name__}")
    wanted = federations.opened(config).models.fresh(0).state_dict()
    what = f"model={config.model.name} for dataset={config.dataset.name}"
    for names, has in ((wanted.keys() - given.keys(), "lacks"), (given.keys() - wanted.keys(), "has, beyond those,")):
        if names:
            raise RequestError(f"this is no {what}: it {has} the {_some(names)}")
    for name, tensor in wanted.items():
        if given[name].shape != tensor.shape:
            shapes = f"{list(given[name].shape)}, not {list(tensor.shape)}"
            raise RequestError(f"this is no {what}: {name} has the shape {shapes}")
        if given[name].dtype != tensor.dtype:
            raise RequestError(f"this is no {what}: {name} holds {given[name].dtype}, not {tensor.dtype}")
        if not torch.isfinite(given[name]).all():
            raise RequestError(f"the model cannot be audited: {name} holds numbers that are not finite")
    return {name: given[name].detach().cpu().clone().contiguous() for name in wanted}


def audited(config: RunConfig, console: Console, tracker: Tracker, tensors: Mapping[str, Tensor]) -> pipeline.Outcome:
    """The outcome of a run in which the given model stands for the unlearned one."""
    return pipeline.carried_out(config, partial(steps.of_model, tensors=tensors), console, tracker)


def _some(names: set[str]) -> str:
    shown = sorted(names)[:NAMED]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"tensor{'s' if len(names) > 1 else ''} {listed(shown) if not more else ', '.join(shown) + more}"
