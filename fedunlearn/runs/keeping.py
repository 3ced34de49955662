"""The steps of one run in the store, and what is kept apart there because something unforeseen happened.

A step's key is known before the step is computed, so it cannot tell what happens meanwhile: clients that are left out,
source files that change under the running process, an input that had to be kept apart itself. What comes out then is
kept under a key of its own; the steps that build on it take that key among their determinants, so that no run without
the same mishaps is given any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fedunlearn.errors import listed
from fedunlearn.runs.steps import Determinants, Step
from fedunlearn.store import Artifact, Checkpoint, Store, Stored

Sound = Callable[[], bool]  # is everything still as the key says?


class Keeper:
    """Looks steps up before it has them computed. `kept`: where each is really kept, by the key foreseen."""

    def __init__(self, store: Store, warn: Callable[[str], None]) -> None:
        self._store, self._warn = store, warn
        self.kept: dict[str, str] = {}

    def get(self, step: Step, compute: Callable[[Checkpoint, Sound], Artifact]) -> Stored:
        """The result of `step`, from the store or from `compute`, which asks `Sound` before it saves a checkpoint."""
        key = self.kept.get(step.key)
        stored = self._store.held(step.kind, key) if key else None
        if stored is None:
            named = step.determinants(self.kept)
            stored = self._store.get(step.kind, named, lambda checkpoint: self._made(step, named, compute, checkpoint))
            self.kept[step.key] = stored.key
        return stored

    def has(self, step: Step) -> bool:
        """Is there a result of `step` in the store? It may still turn out to be damaged."""
        return step.key in self.kept or self._store.has(step.kind, step.determinants(self.kept))

    def _made(
        self,
        step: Step,
        named: Determinants,
        compute: Callable[[Checkpoint, Sound], Artifact],
        checkpoint: Checkpoint,
    ) -> Artifact:
        mishaps: dict[str, Any] = {}

        def sound() -> bool:
            mishaps.update(self._mishaps(step, named))
            return not mishaps

        sound()  # what is imported from here on may not be what this process read when it started
        artifact = compute(checkpoint, sound)
        sound()
        return replace(artifact, apart={**artifact.apart, **mishaps})

    def _mishaps(self, step: Step, named: Determinants) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if changed := step.code.changes():
            found["changed"] = [path.name for path in changed]
            self._warn(
                f"{listed(changed)} changed after this process had read it: what is computed with it is kept apart and "
                "given to no other run"
            )
        if (inputs := step.determinants(self.kept)["inputs"]) != named["inputs"]:
            found["inputs"] = inputs
        return found
