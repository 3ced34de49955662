"""The models of a cell: an original, a bank of retrained ones, and planted ones of which we know what they still know.

left in
    Retrained like those of the bank, with a seed of its own and a share of the forget samples left in, as by somebody
    who forgot to delete some.
mixture
    The weights of a *twin*, retrained from the original's own initial weights with its order of batches, and in parts
    those of the original. Networks that were initialised apart meet a barrier between them; these are usable all along.
head mask
    The original with its forgotten logit suppressed: all is left, and nothing shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.sweeps import Location
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.data import sources
from fedunlearn.data.types import Split
from fedunlearn.federation.federation import Federation
from fedunlearn.randomness import derive, numpy_stream
from fedunlearn.runs import federations, steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.pipeline import opened_store
from fedunlearn.runs.resources import Slot, settled
from fedunlearn.runs.runner import Runner
from fedunlearn.runs.steps import ORIGINAL, RETRAINED, UNLEARNED, RunSteps, Step
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import plain
from fedunlearn.store import Store
from fedunlearn.tracking.base import SILENT

LEFT_IN, MIXTURE, HEAD_MASK = "left in", "mixture", "head mask"
DOSES = {LEFT_IN: (0.02, 0.1, 0.3), MIXTURE: (0.1, 0.3, 0.5)}  # share of samples; share of the original's weights
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Model:
    """A planted model. `kind`: how; `dose`: how much, in [0, 1]."""

    kind: str
    dose: float
    tensors: Tensors


@dataclass(frozen=True)
class Workshop:
    """Where the models of a cell are made, and kept."""

    config: RunConfig
    federation: Federation
    store: Store
    console: Console

    def made(self, step: Step, federation: Federation | None = None) -> Tensors:
        """The model of a step, from the store or trained on this federation."""
        runner = Runner(self.config, federation or self.federation, self.store, self.console, SILENT)
        return runner.keep(step).tensors

    def audited(self, planted: Sequence[Model], test: Split | None = None) -> pd.DataFrame:
        """What the audits find in the models of the run and in planted ones, a row for each model.

        `test`: what they are tested on, in place of the test split.
        """
        federation = self.federation if test is None else tested_on(self.federation, test)
        forget_samples = int(forgotten(federation).sum())
        planned = plan(self.config, federation, [each.tensors for each in planted])
        if test is not None:
            planned = replace(planned, audits=tuple(_apart(audit, forget_samples) for audit in planned.audits))
        runner = Runner(self.config, federation, self.store, self.console, SILENT)
        for step in planned.models:
            runner.keep(step)
        found = runner.audit(planned.audits)
        named = {ORIGINAL: (ORIGINAL, 1.0), UNLEARNED: (HEAD_MASK, 1.0)}
        named |= {f"{RETRAINED}_{number}": (RETRAINED, 0.0) for number in range(self.config.retrain.seeds)}
        named |= {f"{UNLEARNED}_{number}": (each.kind, each.dose) for number, each in enumerate(planted)}
        rows = [{"kind": kind, "dose": dose, **_numbers(found[label])} for label, (kind, dose) in named.items()]
        return pd.DataFrame(rows).assign(forget_samples=forget_samples, classes=federation.dataset.classes)


def measured(words: Sequence[str], place: Location) -> pd.DataFrame:
    """The models of the cell that `words` describe and what the audits find in them (`Workshop.audited`).

    Models and findings that the store holds are not made again.
    """
    with opened(words, place) as workshop:
        return workshop.audited(list(planted(workshop)))


def sampled(words: Sequence[str], place: Location, counts: Sequence[int], bank: int) -> pd.DataFrame:
    """The same models of a cell of glyphs, `bank` retrained ones at most, on so many fresh forget samples each.

    Fewer of them are the first of more.
    """
    with opened(words, place) as workshop:
        models, config = list(planted(workshop)), workshop.config
        smaller = replace(
            workshop, config=replace(config, retrain=replace(config.retrain, seeds=min(bank, config.retrain.seeds)))
        )
        drawn = fresh(config, workshop.federation, max(counts))
        splits = [joined(workshop.federation, drawn.at(torch.arange(count))) for count in counts]
        return pd.concat([smaller.audited(models, split) for split in splits], ignore_index=True)


@contextmanager
def opened(words: Sequence[str], place: Location) -> Iterator[Workshop]:
    """The workshop of a cell."""
    given = [*words, "method=head_mask", *place.data_words(), f"output.dir={place.work}", f"store.dir={place.store}"]
    config = settled(command_line.read(given, conf_dir()), Slot(at_once=place.jobs, draws=False))
    console = Console(quiet=True)
    with opened_store(config, console) as store:
        yield Workshop(config, federations.opened(config), store, console)


def fresh(config: RunConfig, federation: Federation, count: int) -> Split:
    """That many glyphs of the forgotten class which no split of the run holds."""
    settings = replace(config.dataset.settings, test=count, seed=derive(config.dataset.settings.seed, "fresh") % 2**31)
    test = sources.load(replace(config.dataset, settings=settings), config.data, config.seed).test
    return test.at(torch.isin(test.groups, torch.tensor(federation.request.classes)).nonzero().squeeze(1))


def joined(federation: Federation, forget: Split) -> Split:
    """The test split with other forget samples."""
    kept = federation.dataset.test.at(torch.as_tensor(~forgotten(federation)).nonzero().squeeze(1))
    inputs = {name: torch.cat([rows, forget.inputs[name]]) for name, rows in kept.inputs.items()}
    return Split(inputs, torch.cat([kept.targets, forget.targets]), torch.cat([kept.groups, forget.groups]))


def tested_on(federation: Federation, test: Split) -> Federation:
    """The same federation with another test split, which no training depends on."""
    other = federation.replaced()
    other.dataset, other.test = replace(federation.dataset, test=test), test.to(federation.device)
    return other


def _apart(audit: Step, samples: int) -> Step:
    """The audit on another test split: kept under a key of its own."""
    return replace(audit, own={**audit.own, "fresh forget samples": samples})


def planted(workshop: Workshop) -> Iterator[Model]:
    """Those that no method makes, one of every kind and dose."""
    bare = replace(workshop.config, audit=())
    seeds = bare.retrain.seeds
    for number, share in enumerate(DOSES[LEFT_IN], start=seeds):  # so that no two models have a seed in common
        partly = left_in(workshop.federation, share)
        more = replace(bare, retrain=replace(bare.retrain, seeds=number + 1))
        yield Model(LEFT_IN, share, workshop.made(steps.of_run(more, partly).of(RETRAINED)[number], partly))
    story = steps.of_run(bare, workshop.federation)
    original, other = workshop.made(story.of(ORIGINAL)[0]), workshop.made(twin(story))
    for share in DOSES[MIXTURE]:
        yield Model(MIXTURE, share, mixture(other, original, share))


def left_in(federation: Federation, share: float) -> Federation:
    """The same federation, in which that share of the forget samples that clients hold is not to be forgotten.

    The least whole number of samples that is as many; a larger share holds all that a smaller one does.
    """
    request = federation.request
    held = np.concatenate([part[request.forget[part]] for part in federation.parts])
    order = numpy_stream(federation.seed, "left in").permutation(np.sort(held))
    forget = request.forget.copy()
    forget[order[: int(np.ceil(share * len(order)))]] = False
    return federation.replaced(wanted=replace(request, forget=forget))


def twin(story: RunSteps) -> Step:
    """The step of a retrained model that begins as the original did and goes through its batches in the same order."""
    first, (original,) = story.of(RETRAINED)[0], story.of(ORIGINAL)
    spec = replace(first.work.spec, stage=original.work.spec.stage)
    return replace(first, name="twin", work=replace(first.work, spec=spec), own={**first.own, "spec": plain(spec)})


def mixture(one: Tensors, other: Tensors, share: float) -> Tensors:
    """That share of `other`'s weights, and of `one`'s what is missing to 1; whole numbers are `one`'s."""
    return {
        name: torch.lerp(one[name], other[name], share) if one[name].is_floating_point() else one[name] for name in one
    }


def plan(config: RunConfig, federation: Federation, given: Sequence[Tensors]) -> RunSteps:
    """The steps of the run, and the same audits of further models, whose labels are `unlearned_0`, `unlearned_1`, …"""
    run = steps.of_run(config, federation)
    (subject,) = run.of(UNLEARNED)
    audits = [audit for audit in run.audits if audit.inputs["subject"] == (subject,)]
    bare = replace(config, audit=())
    models = [
        replace(steps.of_model(bare, federation, tensors).of(UNLEARNED)[0], number=number)
        for number, tensors in enumerate(given)
    ]
    more = [replace(audit, inputs={**audit.inputs, "subject": (model,)}) for model in models for audit in audits]
    return replace(run, models=(*run.models, *models), audits=(*run.audits, *more))


def forgotten(federation: Federation) -> np.ndarray:
    """Bool, one for each test sample: is it of a forgotten class?"""
    return np.isin(federation.dataset.test.groups.numpy(), federation.request.classes)


def _numbers(found: dict) -> dict[str, float | None]:
    return {name: value for name, value in found.items() if not isinstance(value, (list, dict))}
