"""One job of a Hydra run or sweep: run the pipeline in its folder and leave a readable account there, come what may."""

from __future__ import annotations

import logging
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fedunlearn.errors import HopelessError, RequestError, RunError
from fedunlearn.files import alone
from fedunlearn.report import figures, page, profile, runs, tables
from fedunlearn.results import summary as summaries
from fedunlearn.results.summary import Summary
from fedunlearn.runs import (
    federations,
    folders,
    forecast,
    joblist,
    pipeline,
    resources,
    steps,
    submission,
    summarise,
)
from fedunlearn.runs.console import Console, logged_to
from fedunlearn.runs.resources import Slot
from fedunlearn.settings.config import OutputConfig, RunConfig, essence, from_omegaconf
from fedunlearn.store.folder import reason
from fedunlearn.tracking import base as tracking


def task(composed: DictConfig) -> None:
    """What Hydra calls for every job. A single run ends the process with its status; a sweep goes on."""
    hydra = HydraConfig.get()
    folder, words = Path(hydra.runtime.output_dir), list(hydra.overrides.task)
    if hydra.mode == RunMode.RUN:
        root, slot = folder, Slot()
    else:
        root = Path(hydra.sweep.dir)
        slot = resources.of_job(hydra.launcher, hydra.job.num, joblist.count(root))
    try:
        status = _task(composed, folder, words, slot)
    except KeyboardInterrupt as stop:
        stop.add_note(str(root))
        raise
    if hydra.mode == RunMode.RUN and status:
        sys.exit(status)


def _task(composed: DictConfig, folder: Path, words: list[str], slot: Slot) -> int:
    try:
        config = from_omegaconf(composed).in_folder(folder)
        if config.sweep.dry_run:
            forecast.show([forecast.Planned("this run", config, finished(folder, config))], Console())
            return 0
    except RequestError as error:  # settings that are right one by one, but not together
        asked = OmegaConf.to_container(composed)
        assert isinstance(asked, dict)
        return fail(folder, {str(key): value for key, value in asked.items()}, words, Console(), str(error), 2)
    return execute(config, folder, words, slot)


def execute(config: RunConfig, folder: Path, words: Sequence[str], slot: Slot = Slot()) -> int:  # noqa: B008 (frozen)
    """Run `config` in `folder`; the exit status. Never raises, except for Ctrl-C."""
    logging.getLogger("flwr").setLevel(logging.ERROR)  # Flower's own round-by-round log; ours says the same
    screen = Console(prefix=_prefix(slot))
    if submission.is_needed(config):
        return submission.submit(config, folder, words, screen.say)
    if not slot.alone:
        screen.say(f"{slot.title}: {folder.name}" if not _prefix(slot) else folder.name, style="bold")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            alone(folder / folders.LOCK, partial(_say_wait, folder, screen)),
            logged_to(folder / "log.txt", _prefix(slot)) as console,
        ):
            return _attempt(config, folder, words, slot, console)
    except OSError as error:
        print(f"fedunlearn: cannot write in {folder}: {reason(error)}", file=sys.stderr)
        return 1


def _attempt(config: RunConfig, folder: Path, words: Sequence[str], slot: Slot, console: Console) -> int:
    """What `execute` does once the folder is its own."""
    console.record(command_of(words, folder))
    folders.settle(folder)
    if finished(folder, config):
        console.say(f"{folder}: finished already, nothing to do", style="dim")
        return 0
    started = time.perf_counter()
    kept = replace(config, output=OutputConfig(str(folder)))  # to overwrite was the command's wish, not the run's
    fails = partial(fail, folder, kept.as_dict(), words, console)
    try:
        folders.make_room(folder, config)
        run, drawn = _complete(kept, folder, words, slot, console)
        show(run, drawn, slot, console)
    except RequestError as error:
        return fails(str(error), 2)
    except HopelessError as error:
        return fails(str(error), 1, goes_on=False)
    except RunError as error:
        return fails(str(error), 1)
    except OSError as error:
        console.record(traceback.format_exc())
        return fails(f"cannot use {error.filename}: {reason(error)}" if error.filename else reason(error), 1)
    except Exception as error:
        console.record(traceback.format_exc())
        return fails(f"{type(error).__name__}: {error}", 1)
    console.say(f"Done in {time.perf_counter() - started:.1f} s: {folder}")
    return 0


def _complete(
    config: RunConfig, folder: Path, words: Sequence[str], slot: Slot, console: Console
) -> tuple[runs.Run, list[Path]]:
    """Everything from the first round to the last file: the run in its folder, and what was drawn there."""
    work = folders.workplace(folder)
    begin(work, config, slot)
    tracked = tracking.Tracked(folder, work, folder.name, config.as_dict())
    with tracking.opened(config.tracking, tracked, lambda text: console.say(text, style="yellow")) as tracker:
        outcome = replace(pipeline.run(resources.settled(config, slot), console, tracker), config=config)
        summary = summarise.summarise(outcome, command_of(words, folder))
        drawn = write(outcome, summary, work, slot.draws or work != folder)
        tracker.finished(summary)
    if work != folder:
        folders.publish(folder)
    return runs.Run(folder, "done", "", summary), [folder / path.relative_to(work) for path in drawn]


def begin(work: Path, config: RunConfig, slot: Slot) -> None:
    """Make `work` the folder of a run that is going on."""
    folders.clear(work)
    here = resources.settled(config, slot)
    summarise.write_setting(work, config, {"workers": here.engine.settings.workers, "device": here.device})


def write(outcome: pipeline.Outcome, summary: Summary, work: Path, draws: bool) -> list[Path]:
    """Write the run's files into `work`, the summary last: whoever finds it finds the rest. Returns what was drawn.

    A run of a sweep leaves the drawing to the sweep, unless it takes the place of a finished one: it takes it whole.
    """
    summarise.write_metrics(work, summarise.metric_lines(outcome))
    summarise.write_exhibits(work, summarise.exhibits(outcome))
    run = runs.Run(work, "done", "", summary)
    drawn = [*figures.draw(run), page.write_run(run)] if draws else []
    summaries.write(work, summary)
    return drawn


def show(run: runs.Run, drawn: Sequence[Path], slot: Slot, console: Console) -> None:
    """Show the run's table, where its time went, its warnings, and the files for people to look at."""
    table = tables.shown([run])
    console.show(table) if slot.alone else console.keep(table)
    if spent := profile.table(run):
        console.show(spent)
    tell = console.say if slot.alone else console.record  # a sweep's table tells them once, as footnotes
    for warning in run.summary.warnings:
        tell(f"Warning: {warning}")
    for path in drawn:
        if path.suffix in (".png", ".html") and slot.alone:
            console.say(f"  {path}")


def fail(
    folder: Path,
    config: dict[str, Any],
    words: Sequence[str],
    console: Console,
    why: str,
    status: int,
    goes_on: bool = True,
) -> int:
    """Leave a failed summary behind, though not in place of a finished one's, and say where to look.

    `goes_on`: may the same command come further than this?
    """
    summary = summarise.failed(why, config, command_of(words, folder))
    work = folders.workplace(folder)
    if not folders.is_done(work):  # else it is complete, but cannot take its place yet: the next command goes on
        with suppress(OSError):  # on a full disk what the screen says must do
            summaries.write(work, summary)
    console.record(why)
    print(f"fedunlearn: {why}", file=sys.stderr)
    if status == 1:
        hope = "; the same command goes on from the last round" if goes_on else ""
        print(f"fedunlearn: see {folder / 'log.txt'}{hope}", file=sys.stderr)
    return status


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
    return done and summary.signature == steps.signature(config, federations.opened(config))


def _say_wait(folder: Path, console: Console) -> None:
    console.say(f"waiting for another fedunlearn process that is working in {folder}", style="yellow")


def _prefix(slot: Slot) -> str:
    return f"{slot.title}: " if slot.at_once > 1 else ""
