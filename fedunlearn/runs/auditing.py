"""Measures every model of a run by every audit, side by side on the job's cores.

What a model says is computed once, for all audits that look at it, and kept only as long as one of them does: for the
original and the retrained models, which all others of their form are compared with, until that form is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import torch

from fedunlearn.audits.base import Evidence, Findings, Notes, Reference, Replica, Shadow
from fedunlearn.audits.observe import observe, viewed
from fedunlearn.data.types import Split
from fedunlearn.federation.federation import Federation
from fedunlearn.models.base import Network
from fedunlearn.runs.crew import Crew
from fedunlearn.runs.keeping import Keeper
from fedunlearn.runs.steps import ORIGINAL, RETRAINED, UNLEARNED, Measuring, Step
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.store import Artifact

OBSERVING = "what the models say"  # the passes over both splits that all audits share


class Auditor:
    """The audits of one run. `network(step)`: a model of its own with the weights of a trained step."""

    def __init__(
        self, config: RunConfig, federation: Federation, keeper: Keeper, network: Callable[[Step], Network], crew: Crew
    ) -> None:
        self._config, self._federation, self._keeper, self._crew = config, federation, keeper, crew
        self._network, self._lock = network, Lock()
        self._seen: dict[str, Notes] = {}  # by the key of the step
        self.seconds: dict[str, float] = {}  # by audit, of all workers together

    def findings(self, audits: tuple[Step, ...]) -> Iterator[tuple[Step, Findings]]:
        """What each of the audits finds, form by form: those of models that are a reference, then model by model."""
        for form in dict.fromkeys(_subject(step).form for step in audits):
            yield from self._of_one_form(tuple(step for step in audits if _subject(step).form == form))
            self._seen.clear()

    def _of_one_form(self, audits: tuple[Step, ...]) -> Iterator[tuple[Step, Findings]]:
        for together in _by_memory(audits):
            self._look_ahead(together)
            calls = [self._crew.submit(partial(self._kept, step)) for step in together]
            for step, call in zip(together, calls, strict=True):
                yield step, call.result()
            for subject in {*map(_subject, together)} - _references(audits):
                self._seen.pop(subject.key, None)

    def measure(self, step: Step) -> Findings:
        """What one audit finds, computed now."""
        assert isinstance(step.work, Measuring)
        chosen, (original,) = step.work.audit, step.inputs[ORIGINAL]
        audit = registry.find("audit", chosen.name)
        reference = Reference(
            original=self._evidence(original),
            retrained=tuple(map(self._evidence, step.inputs[RETRAINED])),
            forget_classes=self._federation.request.classes,
            classes=self._federation.dataset.classes,
            seed=self._config.seed,
            parts=tuple(self._federation.parts),
            backdoor=self._config.request.backdoor,
            shadows=tuple(self._shadow(*models) for models in _variants(step, "shadow")),
            replicas=tuple(self._replica(*models) for models in _variants(step, "replica")),
            side_by_side=self._crew.side_by_side,
        )
        return dict(audit.measured(self._evidence(_subject(step)), reference, chosen.settings))

    def _kept(self, step: Step) -> Findings:
        since = time.perf_counter()
        found = dict(self._keeper.get(step, lambda checkpoint, sound: Artifact({}, self.measure(step))).data)
        assert isinstance(step.work, Measuring)
        self._add(step.work.audit.name, since)
        return found

    def _add(self, part: str, since: float) -> None:
        with self._lock:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - since

    def _look_ahead(self, audits: Iterable[Step]) -> None:
        """Observe what these audits need, before a worker has to wait for it; nothing for those that are stored."""
        missing = [step for step in audits if not self._keeper.has(step)]
        needed = dict.fromkeys(other for step in missing for other in (*step.inputs[ORIGINAL], *step.inputs[RETRAINED]))
        needed |= dict.fromkeys(map(_subject, missing))
        for call in [self._crew.submit(partial(self._evidence, step)) for step in needed]:
            call.result()

    def _evidence(self, step: Step) -> Evidence:
        found: Evidence = self._once(step, partial(self._observed, step))
        return found

    def _observed(self, step: Step) -> Evidence:
        federation, since = self._federation, time.perf_counter()
        shared = federation.dataset, federation.request, federation.device
        found = observe(self._network(step), *shared, self._crew.side_by_side)
        self._add(OBSERVING, since)
        return found

    def _shadow(self, original: Step, unlearned: Step) -> Shadow:
        found: Shadow = self._once(unlearned, partial(self._shadowed, original, unlearned))
        return found

    def _shadowed(self, original: Step, unlearned: Step) -> Shadow:
        """The models of one shadow on the forget samples, and which of these its clients have."""
        forget, parts = self._federation.request.forget, self._federation.of_variant(original.variant).parts
        held = np.isin(np.flatnonzero(forget), np.concatenate(parts))
        asked = self._federation.dataset.train.at(torch.from_numpy(np.flatnonzero(forget)))
        return Shadow(held, *(self._logits(step, asked) for step in (original, unlearned)))

    def _replica(self, original: Step, unlearned: Step) -> Replica:
        found: Replica = self._once(unlearned, partial(self._replicated, original, unlearned))
        return found

    def _replicated(self, original: Step, unlearned: Step) -> Replica:
        """The models of one replica on both splits."""
        splits = {"train": self._federation.dataset.train, "test": self._federation.dataset.test}
        return Replica(
            *({name: self._logits(step, split) for name, split in splits.items()} for step in (original, unlearned))
        )

    def _logits(self, step: Step, asked: Split) -> np.ndarray:
        task, prepare, device = self._federation.task, self._federation.dataset.prepare, self._federation.device
        nothing = np.zeros(len(asked), dtype=bool)
        return viewed(self._network(step).eval(), task, asked, nothing, prepare, device).logits

    def _once(self, step: Step, work: Callable[[], Any]) -> Any:
        return self._seen.setdefault(step.key, Notes()).once("", work)


def _variants(step: Step, kind: str) -> Iterator[tuple[Step, Step]]:
    """Original and unlearned model of each variant of that kind that an audit needs."""
    yield from zip(*(step.inputs.get(f"{kind}.{role}", ()) for role in (ORIGINAL, UNLEARNED)), strict=True)


def _subject(step: Step) -> Step:
    (subject,) = step.inputs["subject"]
    return subject


def _references(audits: Iterable[Step]) -> set[Step]:
    """The models that others are compared with."""
    return {other for step in audits for role in (ORIGINAL, RETRAINED) for other in step.inputs[role]}


def _by_memory(audits: tuple[Step, ...]) -> Iterator[list[Step]]:
    """Audits to make together: first those of references, which are held in memory anyway, then model by model."""
    kept = _references(audits)
    groups: dict[str, list[Step]] = {}
    for step in audits:
        subject = _subject(step)
        groups.setdefault("" if subject in kept else subject.key, []).append(step)
    yield from sorted(groups.values(), key=lambda group: _subject(group[0]) not in kept)
