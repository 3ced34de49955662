"""The positive control: updates of a known size, made to forget, on models whose weights are on the grid of int4.

Rounding to int4 must undo those below half a step to the last bit, and not those well above. The same updates of the
original model itself, whose weights lie anywhere in their bins, show what becomes of small updates otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from experiments.survival import forms
from experiments.sweeps import Location
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.deploy.base import Format, Rounded, rounded, weights_of
from fedunlearn.federation.federation import Federation
from fedunlearn.models.base import Network
from fedunlearn.runs import given, job, pipeline
from fedunlearn.runs.console import Console
from fedunlearn.runs.resources import Slot, settled
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, RunConfig

INT4 = "int4"
SIZES = (0.5, 0.95, 2.0, 4.0)  # the largest change of a weight, in half steps of int4
STARTS = ("on the grid", "as trained")
STEPS = 12  # signed gradient steps, each a quarter of the size
Tensors = dict[str, Tensor]


def run(words: Sequence[str], place: Location) -> pd.DataFrame:
    """Plant, round and audit updates of every size from both starts; `start` and `size` name them."""
    folder = place.work / "planted"
    given_words = [*words, *place.data_words(), f"output.dir={folder}", f"store.dir={place.store}"]
    config = settled(command_line.read(given_words, conf_dir()), Slot())
    outcome = pipeline.models_alone(replace(config, deploy=replace(config.deploy, formats=())), Console(quiet=True))
    federation, original = outcome.federation, outcome.original.tensors
    return pd.concat(
        [
            _audited(config, place, start, size, update(federation, original, start, size), words)
            for start in STARTS
            for size in SIZES
        ],
        ignore_index=True,
    )


def update(federation: Federation, original: Mapping[str, Tensor], start: str, size: float) -> Tensors:
    """A model that forgets by changes of at most `size` half steps of int4 per weight, all else being as it was.

    The largest weight of a channel does not move, since the steps of the channel are made of it. Loss: cross-entropy on
    retain samples minus that on forget samples (cut at 5), all training samples of both kinds, by signed gradients.
    """
    network = federation.models.fresh(0)
    grids = {name: rounded(original[name], registry.find(Format, INT4)) for name in weights_of(network)}
    begun = {name: grids[name].values if start == STARTS[0] else original[name] for name in grids}
    weights = {name: tensor.clone() for name, tensor in begun.items()}
    for _ in range(STEPS):
        slopes = _slopes(federation, network, {**original, **weights}, list(grids))
        weights = {
            name: _moved(weights[name], slopes[name], begun[name], grids[name], original[name], size) for name in grids
        }
    return {**original, **weights}


def _moved(weight: Tensor, slope: Tensor, begun: Tensor, grid: Rounded, original: Tensor, size: float) -> Tensor:
    room = size * grid.half_steps.float()
    top = original.abs().flatten(1).amax(1).reshape(-1, *[1] * (original.dim() - 1))
    room = torch.where(original.abs() == top, torch.zeros_like(room), room)
    wanted = (weight - room / 4 * slope.sign()).clamp(begun - room, begun + room)
    return wanted.clamp(-top, top)


def _slopes(federation: Federation, network: Network, tensors: Tensors, names: list[str]) -> Tensors:
    given = {name: tensor.clone().requires_grad_(name in names) for name, tensor in tensors.items()}
    forget = torch.as_tensor(federation.request.forget)
    kept, gone = (_loss(federation, network, given, chosen) for chosen in (~forget, forget))
    found = torch.autograd.grad(kept - gone.clamp(max=5.0), [given[name] for name in names])
    return dict(zip(names, found, strict=True))


def _loss(federation: Federation, network: Network, tensors: Tensors, chosen: Tensor) -> Tensor:
    some = federation.train.at(chosen.nonzero().squeeze(1))
    inputs = federation.dataset.prepare(some.inputs)
    return F.cross_entropy(functional_call(network, tensors, (inputs,)), some.targets)


def _audited(
    config: RunConfig, place: Location, start: str, size: float, tensors: Tensors, words: Sequence[str]
) -> pd.DataFrame:
    name = f"{size:g} half steps, {start}"
    folder = place.work / "planted" / f"{config.seed}_{start.replace(' ', '_')}_{size:g}"
    story = job.Story(partial(given.audited, tensors=tensors), lambda *_: False)
    named = replace(config, method=Choice(name, None)).in_folder(folder)
    job.carry_out(named, folder, words, Slot(draws=False), lambda *_: None, True, story)
    return forms.table("planted", [folder]).assign(start=start, size=size)
