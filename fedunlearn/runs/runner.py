"""Carries out the steps of one run: trains, measures, and tells the user and the tracker about it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from joblib import cpu_count

from fedunlearn.audits.base import Findings
from fedunlearn.deploy import backends
from fedunlearn.deploy.base import converted
from fedunlearn.engines.base import Progress, run_stage, worker_count
from fedunlearn.federation.clock import Interval, Stopwatch
from fedunlearn.federation.federation import Federation
from fedunlearn.models.base import Network
from fedunlearn.randomness import derive
from fedunlearn.runs.auditing import Auditor
from fedunlearn.runs.console import Console
from fedunlearn.runs.crew import crew
from fedunlearn.runs.curves import round_values, thinned, untested
from fedunlearn.runs.keeping import Keeper, Sound
from fedunlearn.runs.step_model import COSTS, History, StepModel, artifact_of, given_model, model_of, on, progress_of
from fedunlearn.runs.steps import Converting, Given, Step, Training
from fedunlearn.settings.config import RunConfig
from fedunlearn.store import Artifact, Checkpoint, Store
from fedunlearn.tracking.base import Tracker

SAVE_EVERY = 1.0  # seconds at least from one saved round to the next: to save a short round takes as long as the round


class Runner:
    """Each step is looked up in the store before it is computed. `kept`: where, by the keys foreseen."""

    def __init__(
        self, config: RunConfig, federation: Federation, store: Store, console: Console, tracker: Tracker
    ) -> None:
        self.config, self.federation, self.console, self.tracker = config, federation, console, tracker
        self._warn = cache(partial(console.say, style="yellow"))  # says the same only once
        self._keeper = Keeper(store, self._warn)
        self._models: dict[str, StepModel] = {}  # by key
        self.audit_seconds: dict[str, float] = {}  # by audit

    @property
    def kept(self) -> dict[str, str]:
        """Under which key each step is kept, by the key that was foreseen."""
        return self._keeper.kept

    def keep(self, step: Step) -> StepModel:
        """`model`, held in memory from now on."""
        self._models[step.key] = self.model(step)
        return self._models[step.key]

    def model(self, step: Step) -> StepModel:
        """A model from the store, or from running its step (from its last saved round, if it was interrupted)."""
        if step.key in self._models:
            return self._models[step.key]
        if isinstance(step.work, Given):
            return given_model(step.key, step.work.tensors)
        if isinstance(step.work, Converting):
            return model_of(self._keeper.get(step, lambda checkpoint, sound: self._convert(step)))
        news = step.key not in self.kept
        model = model_of(self._keeper.get(step, partial(self._train, step)))
        every = self.config.train.evaluate_every
        if model.cached and news:
            missing = untested(model.history, every)
            rarely = f"; {missing} of the rounds asked for were not tested when it was trained" if missing else ""
            self.console.say(f"{step.name}: found in the store ({model.key}){rarely}", style="dim")
            self._track(step, thinned(model.history, every))
        return replace(model, history=thinned(model.history, every))

    def audit(self, audits: tuple[Step, ...]) -> dict[str, Findings]:
        """What every audit finds, by the label of its subject. The models must have been kept."""
        findings: dict[str, Findings] = {}
        with self.console.progress("audit", len(audits), "audits") as advance, crew(cores_of(self.config)) as hands:
            auditor = Auditor(self.config, self.federation, self._keeper, self._network, hands)
            for done, (step, found) in enumerate(auditor.findings(audits), start=1):
                (subject,) = step.inputs["subject"]
                findings.setdefault(subject.label, {}).update(found)
                advance(done, step.name)
        self.audit_seconds = auditor.seconds
        return findings

    def _train(self, step: Step, checkpoint: Checkpoint, sound: Sound) -> Artifact:
        work, here = step.work, {"run": str(Path(self.config.output.dir).absolute())}
        assert isinstance(work, Training)
        saved = checkpoint.load()
        if saved and saved.data["cost"]["failures"] and saved.data["run"] != here["run"]:
            saved = None  # another run's clients were left out of it; that run may go on from there, no other
        begin = progress_of(saved, self.federation.device) if saved else self._begin(step)
        if saved:
            self.console.say(f"{step.name}: going on after round {begin.cost['rounds']} of {work.rounds}")
            self._track(step, begin.history)
        first = self._begin(step).model if saved and work.spec.select else None
        interval = Interval(SAVE_EVERY)
        with self.console.progress(step.name, work.rounds) as advance:

            def after_round(progress: Progress) -> None:
                if interval.is_due() and sound():
                    made = artifact_of(progress)
                    checkpoint.save(replace(made, data={**made.data, **here}))
                    interval.begin()
                advance(progress.cost["rounds"], self._headline(progress.history[-1]))
                self._say_failures(step, progress.history[-1])
                self._track(step, progress.history[-1:])

            done = run_stage(
                work.spec, begin, work.rounds, self.federation, self.config, after_round, work.server, self._warn, first
            )
        return self._without_clients(step, artifact_of(done))

    def _convert(self, step: Step) -> Artifact:
        work, (source,) = step.work, step.inputs["source"]
        assert isinstance(work, Converting)
        watch = Stopwatch()
        names = backends.plan(self.federation.models.fresh(0), work.deploy).rounded
        tensors = converted(self.model(source).tensors, names, backends.quantiser(work.format, work.deploy))
        watch.lap("seconds")
        return artifact_of(Progress(tensors, cost={**dict.fromkeys(COSTS, 0), **watch.seconds}))

    def _begin(self, step: Step) -> Progress:
        """What the first round starts from."""
        assert isinstance(step.work, Training)
        spec, (start, history) = step.work.spec, (step.inputs.get(name, ()) for name in ("start", "history"))
        if not start:
            return Progress(self.federation.models.fresh(derive(spec.seed, spec.stage)).state_dict())
        memory = self.model(history[0]).memory if history else {}
        tensors = self.model(start[0]).tensors
        return Progress(on(self.federation.device, tensors), memory=on(self.federation.device, memory))

    def _without_clients(self, step: Step, made: Artifact) -> Artifact:
        """The same, set apart if clients were left out."""
        if not (failures := made.data["cost"]["failures"]):
            return made
        times = "once" if failures == 1 else f"{failures} times"
        self._warn(f"{step.name}: a client was left out {times}, so the model is kept apart and given to no other run")
        return replace(made, apart={"failures": failures})

    def _headline(self, entry: dict[str, Any]) -> str:
        values = round_values(entry, self.federation)
        shown = {name.split("_")[0]: value for name, value in values.items() if name.endswith("_accuracy")}
        if not shown and "train_loss" in values:
            shown = {"loss": values["train_loss"]}
        return "  ".join(f"{name} {value:.3f}" for name, value in shown.items())

    def _say_failures(self, step: Step, entry: dict[str, Any]) -> None:
        if "failures" in entry:
            left_out = f"clients left out: {entry['failures']}; the last: {entry['failure']}"
            self.console.say(f"{step.name}: round {entry['round']}: {left_out}", style="yellow")

    def _track(self, step: Step, history: History) -> None:
        for entry in history if step.variant is None else ():
            self.tracker.measured(step.name, entry["round"], round_values(entry, self.federation))

    def _network(self, step: Step) -> Network:
        network = self.federation.models.fresh(0)
        network.load_state_dict(self.model(step).tensors)
        return network


def cores_of(config: RunConfig) -> int:
    """How many cores the audits of a run keep busy: as many as its clients, but no more than there are."""
    return min(worker_count(config.engine.settings), int(cpu_count()))
