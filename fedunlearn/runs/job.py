"""One job of a Hydra run or sweep: run the pipeline in its folder and leave a readable account there, come what may."""

from __future__ import annotations

import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fedunlearn.errors import Ended, HopelessError, RequestError, RunError
from fedunlearn.federation.clock import Stopwatch
from fedunlearn.files import alone
from fedunlearn.report import figures, page, profile, runs, tables
from fedunlearn.results import objective
from fedunlearn.results import summary as summaries
from fedunlearn.results.summary import Summary
from fedunlearn.runs import (
    federations,
    folders,
    forecast,
    joblist,
    model_files,
    pipeline,
    resources,
    steps,
    submission,
    summarise,
)
from fedunlearn.runs.console import Console, logged_to
from fedunlearn.runs.flower_log import flower_logged
from fedunlearn.runs.resources import Slot
from fedunlearn.settings.config import RunConfig, essence, from_omegaconf
from fedunlearn.store.folder import reason
from fedunlearn.tracking import base as tracking
from fedunlearn.tracking.base import Tracker


def task(composed: DictConfig, quiet: bool = False) -> float | None:
    """What Hydra calls for every job of a command. A single run ends the process with its status if it fails.

    A sweep goes on; its sweeper is given the value of the job's objective, None where it has none.
    """
    asked = of_hydra()
    try:
        status = _task(composed, asked.folder, asked.words, asked.slot, quiet)
    except KeyboardInterrupt as stop:
        stop.add_note(str(asked.root))
        raise
    if asked.is_single and status:
        raise Ended(status)
    return _objective(composed, asked.folder)


def _objective(composed: DictConfig, folder: Path) -> float | None:
    """The value of the finished run in the folder; None if there is none, or it has no value."""
    try:
        return objective.value(summaries.read(folder), from_omegaconf(composed).sweep.objective)
    except (OSError, ValueError):  # it failed, and said so
        return None


@dataclass(frozen=True)
class Asked:
    """What Hydra has to say about a job: its folder, its overrides, its place among others, and the folder of all."""

    folder: Path
    words: tuple[str, ...]
    slot: Slot
    root: Path
    is_single: bool


def of_hydra() -> Asked:
    """The job that Hydra is running."""
    hydra = HydraConfig.get()
    folder, words = Path(hydra.runtime.output_dir), tuple(hydra.overrides.task)
    if hydra.mode == RunMode.RUN:
        return Asked(folder, words, Slot(), folder, True)
    root = Path(hydra.sweep.dir)
    return Asked(folder, words, resources.of_job(hydra.launcher, hydra.job.num, joblist.count(root)), root, False)


def _task(composed: DictConfig, folder: Path, words: Sequence[str], slot: Slot, quiet: bool = False) -> int:
    try:
        config = settled(composed, folder, words)
        if config.sweep.dry_run:
            forecast.show([forecast.Planned("this run", config, finished(folder, config))], Console())
            return 0
    except RequestError as error:
        return complain(error, folder)
    return execute(config, folder, words, slot, quiet)


def settled(composed: DictConfig, folder: Path, words: Sequence[str]) -> RunConfig:
    """The checked configuration of a run in `folder`.

    Raises RequestError, and leaves a failed summary, for settings that are right one by one, but not together.
    """
    try:
        return from_omegaconf(composed).in_folder(folder)
    except RequestError as error:
        asked = OmegaConf.to_container(composed)
        assert isinstance(asked, dict)
        leave_failed(folder, {str(key): value for key, value in asked.items()}, words, str(error))
        raise


def execute(
    config: RunConfig,
    folder: Path,
    words: Sequence[str],
    slot: Slot = Slot(),  # noqa: B008 (frozen)
    quiet: bool = False,
) -> int:
    """Run `config` in `folder`, and show it; the exit status. Never raises, except for Ctrl-C."""
    screen = Console(prefix=_prefix(slot), quiet=quiet)
    if submission.is_needed(config):
        return submission.submit(config, folder, words, screen.say)
    if not slot.alone:
        screen.say(f"{slot.title}: {folder.name}" if not _prefix(slot) else folder.name, style="bold")
    try:
        carry_out(config, folder, words, slot, show, quiet)
    except (RequestError, RunError) as error:
        return complain(error, folder)
    except OSError as error:
        print(f"fedunlearn: cannot write in {folder}: {reason(error)}", file=sys.stderr)
        return 1
    return 0


def complain(error: RequestError | RunError, folder: Path) -> int:
    """Say what is wrong and, if the run had begun, where to look; the exit status."""
    print(f"fedunlearn: {error}", file=sys.stderr)
    if isinstance(error, RequestError):
        return 2
    hope = "" if isinstance(error, HopelessError) else "; the same command goes on from the last round that was kept"
    print(f"fedunlearn: see {folder / 'log.txt'}{hope}", file=sys.stderr)
    return 1


@dataclass(frozen=True)
class Story:
    """Where the outcome of a run comes from, and whether a folder holds it already."""

    tell: Callable[[RunConfig, Console, Tracker], pipeline.Outcome]
    is_told: Callable[[Path, RunConfig], bool]


Show = Callable[[runs.Run, Sequence[Path], Slot, Console], None]
RUN = Story(lambda *given: pipeline.run(*given), lambda *given: finished(*given))


def carry_out(
    config: RunConfig,
    folder: Path,
    words: Sequence[str],
    slot: Slot,
    show: Show,
    quiet: bool = False,
    story: Story = RUN,
) -> pipeline.Outcome | None:
    """Run `config` in `folder`, and leave a readable account there, come what may; None if it is finished already.

    `show` is called at the end; `quiet`: until then, nothing is seen but in log.txt. Raises RequestError and RunError,
    having left a failed summary, and OSError where nothing can be left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        alone(folder / folders.LOCK, partial(_say_wait, folder, Console(prefix=_prefix(slot)))),
        logged_to(folder / "log.txt", _prefix(slot), quiet) as console,
        flower_logged(console.record),
    ):
        return _attempt(config, folder, words, slot, console, show, story)


def _attempt(
    config: RunConfig, folder: Path, words: Sequence[str], slot: Slot, console: Console, show: Show, story: Story
) -> pipeline.Outcome | None:
    """What `carry_out` does once the folder is its own."""
    console.record(command_of(words, folder))
    folders.settle(folder)
    if story.is_told(folder, config):
        console.say(f"{folder}: finished already, nothing to do", style="dim")
        return None
    started = time.perf_counter()
    kept = replace(config, output=replace(config.output, dir=str(folder), overwrite=False))  # the command's wish, once
    try:
        folders.make_room(folder, config)
        outcome, run, drawn = _complete(kept, folder, words, slot, console, story)
        show(run, drawn, slot, console)
    except Exception as error:
        ours = _as_ours(error, console)
        leave_failed(folder, kept.as_dict(), words, str(ours))
        console.record(str(ours))
        if ours is error:
            raise
        raise ours from error
    console.say(f"Done in {time.perf_counter() - started:.1f} s: {folder}")
    return outcome


def _as_ours(error: Exception, console: Console) -> RequestError | RunError:
    """The same as one of the two ways in which a run can go wrong; how it came about is recorded."""
    if isinstance(error, (RequestError, RunError)):
        return error
    console.record("".join(traceback.format_exception(error)))
    if isinstance(error, OSError):
        return RunError(f"cannot use {error.filename}: {reason(error)}" if error.filename else reason(error))
    return RunError(f"{type(error).__name__}: {error}")


def _complete(
    config: RunConfig, folder: Path, words: Sequence[str], slot: Slot, console: Console, story: Story
) -> tuple[pipeline.Outcome, runs.Run, list[Path]]:
    """Everything from the first round to the last file: the run in its folder, and what was drawn there."""
    work = folders.workplace(folder)
    begin(work, config, slot)
    tracked = tracking.Tracked(folder, work, folder.name, config.as_dict())
    with tracking.opened(config.tracking, tracked, lambda text: console.say(text, style="yellow")) as tracker:
        outcome = replace(story.tell(resources.settled(config, slot), console, tracker), config=config)
        summary = summarise.summarise(outcome, command_of(words, folder))
        summary, drawn = write(outcome, summary, work, slot.draws or work != folder)
        tracker.finished(summary)
    if work != folder:
        folders.publish(folder)
    return outcome, runs.Run(folder, "done", "", summary), [folder / path.relative_to(work) for path in drawn]


def begin(work: Path, config: RunConfig, slot: Slot) -> None:
    """Make `work` the folder of a run that is going on."""
    folders.clear(work)
    here = resources.settled(config, slot)
    summarise.write_setting(work, config, {"workers": here.engine.settings.workers, "device": here.device})


def write(outcome: pipeline.Outcome, summary: Summary, work: Path, draws: bool) -> tuple[Summary, list[Path]]:
    """Write the run's files into `work`, the summary last: whoever finds it finds the rest.

    Returns the summary, with the time that drawing took if the run is profiled, and what was drawn. A run of a sweep
    leaves the drawing to the sweep, unless it takes the place of a finished one: it takes it whole.
    """
    watch = Stopwatch()
    summarise.write_metrics(work, summarise.metric_lines(outcome))
    summarise.write_exhibits(work, summarise.exhibits(outcome))
    if outcome.config.output.models:
        model_files.write(work, outcome)
    run = runs.Run(work, "done", "", summary)
    drawn: list[Path] = []
    pictures = draws and figures.are_wanted(run)
    if pictures:
        drawn += figures.draw(run)
        watch.lap("figures")
    if draws:
        drawn.append(page.write_run(run))
        watch.lap("report")
    if summary.spent:
        summary = replace(summary, spent={**summary.spent, "run": {**summary.spent["run"], **watch.seconds}})
        figures.draw(replace(run, summary=summary), ("profile",) if pictures else ())  # with all it shows
    summaries.write(work, summary)
    return summary, drawn


def show(run: runs.Run, drawn: Sequence[Path], slot: Slot, console: Console) -> None:
    """Show what came of it in a sentence, its table, where its time went, warnings, and the files to look at."""
    tell = console.say if slot.alone else console.record  # a sweep says these once, of all runs
    tell(run.summary.headline)
    table = tables.shown([run])
    console.show(table) if slot.alone else console.keep(table)
    for spent in (profile.table(run), profile.whole(run)):
        if spent:
            console.show(spent)
    for warning in run.summary.warnings:
        tell(f"Warning: {warning}")
    for path in drawn:
        if path.suffix in (".png", ".html") and slot.alone:
            console.say(f"  {path}")


def leave_failed(folder: Path, config: dict[str, Any], words: Sequence[str], why: str) -> None:
    """Leave a failed summary behind, though not in place of a finished one's."""
    work = folders.workplace(folder)
    if not folders.is_done(work):  # else it is complete, but cannot take its place yet: the next command goes on
        with suppress(OSError):  # on a full disk what the screen says must do
            summaries.write(work, summarise.failed(why, config, command_of(words, folder)))


def command_of(words: Sequence[str], folder: Path) -> str:
    """The command that makes this very run, in this folder."""
    others = [word for word in words if word.partition("=")[0] not in ("output.dir", "output.overwrite")]
    return shlex.join(["fedunlearn", *others, f"output.dir={folder}"])


def finished(folder: Path, config: RunConfig) -> bool:
    """Is this very run done in this folder, on the data that are there now, by the code that is running now?"""
    try:
        summary = summaries.read(folder)
    except (OSError, ValueError):
        return False
    done = summary.status == "done" and essence(summary.config) == essence(config.as_dict())
    done = done and (model_files.are_there(folder) or not config.output.models)
    return done and summary.signature == steps.signature(config, federations.opened(config))


def _say_wait(folder: Path, console: Console) -> None:
    console.say(f"waiting for another fedunlearn process that is working in {folder}", style="yellow")


def _prefix(slot: Slot) -> str:
    return f"{slot.title}: " if slot.at_once > 1 else ""
