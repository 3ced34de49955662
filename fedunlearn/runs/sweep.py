"""What happens around a Hydra multirun: before it the jobs are listed, after it the runs become a report.

Hydra calls these functions in the process that started the sweep, whatever launcher runs the jobs.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fedunlearn.errors import Ended, RequestError
from fedunlearn.files import take
from fedunlearn.report import background, runs, sweep, tables
from fedunlearn.runs import folders, joblist
from fedunlearn.runs.console import Console
from fedunlearn.runs.joblist import Job
from fedunlearn.settings.config import RunConfig, from_omegaconf


class SweepCallback(Callback):
    """Lists a sweep's jobs, keeps its folder to itself, and sums it up.

    `command`: what started it, by default this process's command line. `inside`: a program of somebody else's, which
    has the table in its hands: nothing is shown, and runs are drawn at the end, without another process.
    """

    def __init__(self, command: str = "", inside: bool = False) -> None:
        self._command, self._inside = command, inside
        self._sent = False  # to a process that a launcher started
        self._lock: FileLock | None = None
        self._renderer: background.BackgroundRenderer | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Launchers send callbacks along with their jobs; lock and renderer stay with the process that has them."""
        return {**self.__dict__, "_sent": True, "_lock": None, "_renderer": None}

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A single run: ends the process where its folder, which Hydra makes next, cannot be."""
        try:
            folders.check_name(Path(config.hydra.run.dir))
            folders.check_writable(Path(config.hydra.run.dir), "hydra.run.dir")
        except RequestError as error:
            raise Ended(2, error) from error

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write sweep.json, or show what would be done. Ends the process where the sweep cannot be."""
        folder = Path(config.hydra.sweep.dir)
        try:
            listed = joblist.of_sweep(config)
            check_folder(folder, listed, config.output.overwrite)
            if config.sweep.dry_run:
                show_forecast(listed)
                raise Ended(0)
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = take(folder / ".sweep.lock", partial(_refuse, folder))
            if listed and (aside := folders.set_aside(folder, {job.folder for job in listed})):
                self._console().say(f"the runs that are not part of this sweep are now in {aside}")
            if not self._inside:
                self._renderer = background.BackgroundRenderer()
                if config.report.figures:
                    self._renderer.make_ready()
            if listed:
                command = self._command or shlex.join(["fedunlearn", *sys.argv[1:]])
                joblist.write_list(folder, command, listed)
        except (RequestError, HydraException, OmegaConfBaseException, OSError) as error:
            raise Ended(2, error) from error
        except Exception as error:  # of which Hydra would make a remark, and run the jobs
            raise Ended(1, error) from error

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """In a process of joblib's: if the sweep is killed, nobody waits for the job."""
        if self._sent:
            background.end_with_parent()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Draw the run that has just ended in this process."""
        if self._renderer:
            draw = self._renderer.draw if config.report.figures else background.drawn  # a page alone is written at once
            draw(Path(config.hydra.runtime.output_dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Build the sweep's report; exit status 1 if any run failed, or the report cannot be made."""
        folder, console = Path(config.hydra.sweep.dir), self._console()
        try:
            draft = sweep.drafted(folder)  # meanwhile the last runs are drawn
            for problem in self._renderer.finish() if self._renderer else ():
                console.say(problem, style="yellow")
            if self._inside:
                sweep.draw_runs(folder)
            problems = sum_up(draft, console)
        except Exception as error:  # of which Hydra would make a remark, and end with status 0
            error.add_note(f"the runs are whole; `fedunlearn-report {folder}` makes the report")
            raise Ended(1, error) from error
        finally:
            if self._lock:
                self._lock.release()
        if problems:
            complain(folder, problems, console)
            raise Ended(1)

    def _console(self) -> Console:
        return Console(quiet=self._inside)


def sum_up(draft: sweep.Draft, console: Console) -> list[str]:
    """Finish and show the report of a sweep; a sentence for every run that did not end well."""
    report, folder = sweep.finished(draft), draft.folder
    for said in report.headlines:
        console.say(said, style="bold")
    console.show(tables.to_rich(report.summary, report.declared))
    console.say(f"Results: {folder}")
    for path in report.files:
        if path.parent == folder.resolve():
            console.say(f"  {path}")
    return [*report.problems, *not_replaced(folder)]


def show_forecast(listed: list[Job]) -> None:
    """Show the jobs and what the store holds of them. Raises RequestError."""
    from fedunlearn.runs import forecast, job  # these load torch, which a launcher's own process can do without

    if not listed:
        raise RequestError("sweep.dry_run works with Hydra's own sweeper alone: another one chooses jobs as it goes")
    configs = [from_omegaconf(one.settings()).in_folder(one.folder) for one in listed]
    planned = [
        forecast.Planned(words, config, job.finished(one.folder, config))
        for words, one, config in zip(joblist.varying(listed), listed, configs, strict=True)
    ]
    forecast.show(planned, Console())


def check_folder(folder: Path, listed: list[Job], overwrite: bool) -> None:
    """Raise RequestError if something else lies in the sweep's folder than these jobs, or in theirs other runs."""
    for job in listed:
        folders.check_name(job.folder)
    if listed and not overwrite:
        folders.check_sweep(folder, [(job.folder, _config_of(job)) for job in listed])


def _config_of(job: Job) -> RunConfig | None:
    """The job's configuration if a finished run lies in its folder; None also if it cannot be (the job says why)."""
    with suppress(RequestError):
        return from_omegaconf(job.settings()).in_folder(job.folder) if folders.is_done(job.folder) else None
    return None


def _refuse(folder: Path) -> None:
    raise RequestError(f"another sweep is running in {folder}: wait for its end, or give this one another output.dir")


def not_replaced(folder: Path) -> list[str]:
    """A sentence for each finished run of an earlier sweep that was to be replaced, and was not."""
    found = {runs.relative(run, folder): folders.pending(run.folder) for run in runs.find(folder)}
    return [f"{name} failed: {why}" for name, why in found.items() if why]


def complain(folder: Path, problems: list[str], console: Console) -> None:
    """List the runs that did not end well, and how to go on."""
    count = len(runs.find(folder))
    console.say(f"{len(problems)} of {count} runs did not end well:", style="red")
    for problem in problems:
        console.say(f"  {problem}", style="red")
    console.say("The same command, with the same output.dir, runs these again and nothing else.")
