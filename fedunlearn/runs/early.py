"""What can be said before a run has cost much: from its settings and data, and right after the original is trained."""

from __future__ import annotations

from collections.abc import Iterator

from fedunlearn.deploy import backends
from fedunlearn.errors import HopelessError
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.method import Method
from fedunlearn.results import gates
from fedunlearn.runs.curves import split_scores
from fedunlearn.runs.step_model import StepModel
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig


def method_remarks(config: RunConfig) -> Iterator[str]:
    """Sentences about a method and its budget, where they are allowed and few people mean it."""
    method: Method = registry.find("method", config.method.name)
    if method.rounds(config) == 0 and method.trains(config):
        yield f"method {method.name} trains, but unlearn.rounds=0 leaves it no round to train in"


def remarks(config: RunConfig, federation: Federation) -> Iterator[str]:
    """Sentences about the data, and about settings that are allowed and that few people mean."""
    yield from federation.dataset.remarks
    yield from filter(None, [left_in_float32(config, federation)])
    most = max(map(len, federation.parts))
    sizes = {"train": config.train.batch_size, "unlearn": config.unlearn.batch_size}
    for section, size in sizes.items():
        if size is not None and size > most:
            yield (
                f"{section}.batch_size={size} is more than any client holds (at most {most} samples): "
                "a step is one over all of a client's data, and an epoch is one step"
            )


def left_in_float32(config: RunConfig, federation: Federation) -> str:
    """A sentence on the layers that the run's formats leave as they are; empty if there is none."""
    asked = bool(config.deploy.formats)
    return backends.plan(federation.models.fresh(0), config.deploy).remark if asked else ""


def check_learnt(config: RunConfig, federation: Federation, original: StepModel) -> None:
    """Did the original model learn enough for a verdict on forgetting? Raises HopelessError if it did not."""
    last = next(entry for entry in reversed(original.history) if "scores" in entry)
    forget, retain = split_scores(last["scores"], federation)
    scores = {"retain_accuracy": retain, "forget_accuracy": forget}
    chance = federation.task.chance(federation.dataset)
    learnt = federation.task.learnt
    found = gates.check(scores, (), chance, unseen_at_chance=False, learnt=learnt)
    failed = [name for name, passed in found.items() if not passed]
    if failed:
        said = {"original_learnt_task": retain, "original_learnt_forget": forget}[failed[0]]
        train = config.train
        raise HopelessError(
            f"{gates.sentence(failed[0])}: its accuracy there is {said:.2f} after round {last['round']}, and a verdict "
            f"needs {gates.needed(chance, learnt):.2f} (guessing gives {chance:.2f}). Train longer or with other steps "
            f"(train.rounds={train.rounds}, train.lr={train.lr:g}), or go on all the same with gates=warn"
        )
