"""`run`, `sweep` and `audit`: what the command line does, called with Python's values, returning Python's objects."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor, nn

from fedunlearn import sources
from fedunlearn.api.result import Forms, Models, Result, Sweep
from fedunlearn.errors import Ended, RequestError, RunError
from fedunlearn.federation.federation import Federation
from fedunlearn.models.base import Network
from fedunlearn.report import runs as reading
from fedunlearn.report import tables
from fedunlearn.report.runs import Run
from fedunlearn.results import summary as summaries
from fedunlearn.runs import composing, federations, folders, given, job, overrides, pipeline, preflight, submission
from fedunlearn.runs.composing import Source
from fedunlearn.runs.console import Console
from fedunlearn.runs.resources import Slot
from fedunlearn.runs.step_model import StepModel
from fedunlearn.runs.steps import ORIGINAL, RETRAINED, UNLEARNED, Form
from fedunlearn.settings import config as configuration
from fedunlearn.settings.config import Choice, RunConfig

PLACES = ("output.dir=", "hydra.run.dir=", "hydra.sweep.dir=")


def run(*words: str, quiet: bool = False, **settings: Any) -> Result:
    """Train, retrain, unlearn and audit, as `fedunlearn WORDS…` does.

    `words`: overrides as on the command line, `"train.rounds=5"`. `settings`: the same with Python's values, `seed=1`,
    `method="fucrt"`, `train={"rounds": 5}`. `quiet`: show no progress (it is in the run's log.txt all the same).
    Without an `output.dir`, every call has a new folder in outputs/; with one, a finished run is not run again.
    Raises RequestError before any training if the run cannot be done as asked, RunError if it fails.
    """
    asked = _asked([*words, *overrides.of_keywords(settings)])
    config = _checked(asked, multirun=False)[0]
    preflight.check(config)
    placed = _placed(asked, config, folders.check)
    done = _launched(placed, partial(_run_job, quiet=quiet), multirun=False)
    return _result(done.folder, done.config, done.models)


def sweep(*words: str, quiet: bool = False, **settings: Any) -> Sweep:
    """All combinations of the values given, as `fedunlearn -m WORDS…` runs them.

    Several values are `"seed=0,1,2"` in a word, and a list as a setting: `seed=[0, 1, 2]`, `train={"rounds": [5, 10]}`
    (so the one value of a setting that takes a list is a list in a list: `request={"classes": [[9]]}`). A job that
    fails does not end the sweep: it is listed in `failed`. Raises RequestError before any training.
    """
    asked = _asked([*words, *overrides.of_alternatives(settings)])
    configs = _checked(asked, multirun=True)
    for config in configs:
        preflight.check(config)
    placed = _placed(asked, configs[0], None)
    command = shlex.join(["fedunlearn", "-m", *placed])
    callback = {"command": command, "inside": True}
    told = [overrides.override(f"hydra.callbacks.sweep.{key}", value) for key, value in callback.items()]
    _launched([*placed, *told], partial(job.task, quiet=quiet), multirun=True)
    return _swept(Path(_value(placed, "hydra.sweep.dir=") or _value(placed, "output.dir=")))


def audit(
    model: nn.Module | Mapping[str, Tensor], *words: str, name: str = "your model", quiet: bool = False, **settings: Any
) -> Result:
    """Every audit of a model of your own, next to the original and retrained models of the configuration.

    `model`: of the configured dataset and architecture, as a module or its state dict; it is copied, and left as it is.
    It takes the place of the unlearned model, with `name` in place of the method's in tables and figures. Original and
    retrained models are those that `run` has for the same `words` and `settings`: from the store, or trained now.
    Raises RequestError before any training, also for a model that does not have the tensors of that architecture.
    """
    asked = _asked([*words, *overrides.of_keywords(settings)])
    config = _checked(asked, multirun=False)[0]
    given.check(config)
    tensors = given.tensors_of(model, config)
    placed = _placed(asked, replace(config, method=Choice(name, None)), folders.check)
    done = _launched(placed, partial(_audit_job, tensors=tensors, name=name, quiet=quiet), multirun=False)
    return _result(done.folder, done.config, done.models)


@dataclass(frozen=True)
class _Done:
    """A run as it ended. `models`: None where it had been finished before."""

    folder: Path
    config: RunConfig
    models: Forms | None


def _asked(words: Sequence[str]) -> list[str]:
    """The words as Hydra reads them. Raises RequestError for what is not for Python."""
    sources.remember()  # before any plug-in is imported
    for word in words:
        if not isinstance(word, str):
            raise RequestError(f"{word!r} is not a setting in words, such as 'train.rounds=5'")
        if word.startswith("-"):
            raise RequestError(f"{word!r} is an option of the command line: give settings alone, such as 'seed=1'")
    return overrides.with_paths(words)


def _checked(words: Sequence[str], multirun: bool) -> list[RunConfig]:
    """The configurations of the distinct jobs. Raises RequestError."""
    federations.forget()  # data may have changed since the last call
    jobs = overrides.distinct_jobs(overrides.parse(words), multirun)
    found = [composing.read(one, composing.conf_dir()) for one in jobs]
    if found[0].sweep.dry_run:
        raise RequestError("sweep.dry_run=true runs nothing, so that there is no result: use it on the command line")
    return found


def _placed(words: list[str], config: RunConfig, check: Any) -> list[str]:
    """The same words with a folder of their own where they name none."""
    if any(word.lstrip("+").startswith(PLACES) for word in words):
        if check is not None:
            check(Path(config.output.dir), config)
        return words
    return [*words, overrides.override("output.dir", str(_new(Path(config.output.dir))), prefix="")]


def _new(folder: Path) -> Path:
    """`folder`, or the first of `folder_2`, `folder_3`, … that is not there; made now, so that nobody else takes it."""
    number = 1
    while True:
        path = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def _launched(words: Sequence[str], task: Callable[[DictConfig], Any], multirun: bool) -> Any:
    """What the task returned; raises what it raised, without Hydra's remarks about that."""
    try:
        done = composing.launch(words, Source(composing.conf_dir()), partial(_caught, task), multirun)
    except Ended as end:  # status 1 without an error: of a sweep, some runs failed, as its result will say
        if end.error is not None:
            raise end.error from None
        return None
    if isinstance(done, Exception):
        raise done
    return done


def _caught(task: Callable[[DictConfig], Any], composed: DictConfig) -> Any:
    try:
        return task(composed)
    except (RequestError, RunError, OSError) as error:
        return error


def _run_job(composed: DictConfig, quiet: bool) -> _Done:
    asked = job.of_hydra()
    config = job.settled(composed, asked.folder, asked.words)
    if submission.is_needed(config):
        if submission.submit(config, asked.folder, asked.words, Console(quiet=quiet).say):
            raise RunError("the run at the SuperLink did not end well")
        return _Done(asked.folder, config, None)
    outcome = job.carry_out(config, asked.folder, asked.words, Slot(), _kept, quiet)
    return _Done(asked.folder, config, None if outcome is None else _models(outcome))


def _audit_job(composed: DictConfig, tensors: Mapping[str, Tensor], name: str, quiet: bool) -> _Done:
    asked = job.of_hydra()
    config = job.settled(composed, asked.folder, asked.words)
    named = replace(config, method=Choice(name, None))
    story = job.Story(partial(given.audited, tensors=tensors), lambda *_: False)  # what is in the folder is replaced
    outcome = job.carry_out(named, asked.folder, asked.words, Slot(), _kept, quiet, story)
    assert outcome is not None
    return _Done(asked.folder, config, _models(outcome))


def _kept(run: Run, drawn: Sequence[Path], slot: Slot, console: Console) -> None:
    """The table goes into the log alone: whoever called has it in the result."""
    console.keep(tables.shown([run]))
    for warning in run.summary.warnings:
        console.record(f"Warning: {warning}")


def _models(outcome: pipeline.Outcome) -> Forms:
    """The models in all their forms."""
    forms = dict.fromkeys(each.step.form for each in outcome.models)
    return {(form.format, form.repaired): _models_in(outcome, form) for form in forms}


def _models_in(outcome: pipeline.Outcome, form: Form) -> Models:
    found = {
        role: tuple(_network(outcome.federation, each.model) for each in outcome.of(role, form))
        for role in (ORIGINAL, RETRAINED, UNLEARNED)
    }
    return Models(found[ORIGINAL][0], found[RETRAINED], found[UNLEARNED][0])


def _network(federation: Federation, model: StepModel) -> Network:
    network = federation.models.fresh(0).cpu()
    network.load_state_dict(model.tensors)
    return network.eval()


def _result(folder: Path, config: RunConfig, models: Forms | None) -> Result:
    try:
        summary = summaries.read(folder)
    except OSError as error:
        raise RunError(f"there is no summary in {folder}: where the run was executed elsewhere, it is there") from error
    return Result(folder, summary, lambda form: (models or _from_store(config))[form])  # the latter if done before


def _from_store(config: RunConfig) -> Forms:
    return _models(pipeline.models_alone(config, Console(quiet=True)))


def _swept(folder: Path) -> Sweep:
    found = reading.find(folder)
    done = [run for run in found if run.status == "done"]
    failed = [f"{reading.relative(run, folder)} {run.status}: {run.reason}" for run in found if run.status != "done"]
    return Sweep(folder, tuple(map(_of_run, done)), tuple(failed))


def _of_run(run: Run) -> Result:
    config = dict(run.summary.config)
    return Result(run.folder, run.summary, lambda form: _from_store(configuration.load(config))[form])


def _value(words: Sequence[str], start: str) -> str:
    """The last value given for a setting; empty if there is none."""
    values = [str(one.value()) for one in overrides.parse([w for w in words if w.lstrip("+").startswith(start)])]
    return values[-1] if values else ""
