"""Sanity before any verdict: did the original model learn, and is the retrained model a reference?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GATES = {
    "original_learnt_task": "the original model did not learn the task",
    "original_learnt_forget": "the original model did not learn what is to be forgotten",
    "retrained_at_chance": "the retrained model is not at chance on what it never saw",
}
AFTER_ROUNDING = {  # the same gates, where float32 models pass them and those of a format do not
    **GATES,
    "original_learnt_task": "the original model does not know the task any more",
    "original_learnt_forget": "the original model does not know any more what is to be forgotten",
}
Numbers = Mapping[str, float | None]


def sentence(name: str) -> str:
    """What it means that a gate was not passed."""
    return GATES.get(name, f"gate {name!r} was not passed")


def needed(chance: float, learnt: float) -> float:
    """The accuracy from which on a model has learnt enough: that share of the way from chance to perfection."""
    return chance + learnt * (1 - chance)


def check(
    original: Numbers, retrained: Sequence[Numbers], chance: float, unseen_at_chance: bool, learnt: float
) -> dict[str, bool]:
    """Which gates were passed. Those whose audit was switched off or is not defined for the run are left out.

    `chance`: the accuracy of a model that knows nothing; `unseen_at_chance`: no model is better on what it never saw;
    `learnt`: how far from chance towards perfection the original model must be.
    """
    enough = needed(chance, learnt)
    gates: dict[str, bool] = {}
    task, forget = original.get("retain_accuracy"), original.get("forget_accuracy")
    unseen = [seed.get("forget_accuracy") for seed in retrained]
    if task is not None:
        gates["original_learnt_task"] = task >= enough
    if forget is not None:
        gates["original_learnt_forget"] = forget >= enough
    if unseen_at_chance and forget is not None:
        gates["retrained_at_chance"] = all(score is not None and score <= chance for score in unseen)
    return gates
