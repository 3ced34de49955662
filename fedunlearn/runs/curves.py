"""What the history of a step says about every round, in numbers that people read."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedunlearn.federation.evaluation import is_due
from fedunlearn.federation.federation import Federation
from fedunlearn.runs.step_model import History


def round_values(entry: dict[str, Any], federation: Federation) -> dict[str, float]:
    """What a round's entry in a history says.

    Forget and retain accuracy on the test split if it was tested, the training loss and, if there were any, the clients
    left out.
    """
    forget, retain = split_scores(entry["scores"], federation) if "scores" in entry else (None, None)
    values = {
        "forget_accuracy": forget,
        "retain_accuracy": retain,
        "train_loss": entry.get("loss"),
        "failures": entry.get("failures"),
    }
    return {name: value for name, value in values.items() if value is not None}


def thinned(history: History, every: int) -> History:
    """A history without the scores that are not asked for: the store may hold those of more rounds."""
    last = history[-1]["round"] if history else 0
    return [
        entry if is_due(entry["round"], last, every) else {name: entry[name] for name in entry if name != "scores"}
        for entry in history
    ]


def untested(history: History, every: int) -> int:
    """How many of the rounds asked for were not tested when the model was trained."""
    last = history[-1]["round"] if history else 0
    return sum("scores" not in entry and is_due(entry["round"], last, every) for entry in history)


def split_scores(scores: list[float], federation: Federation) -> tuple[float | None, float]:
    """(forget, retain) test score from the mean scores of the groups; forget is None below class level."""
    counts = np.bincount(federation.test.groups.cpu().numpy(), minlength=federation.dataset.classes)
    forget = np.isin(np.arange(federation.dataset.classes), federation.request.classes)
    each = np.asarray(scores)
    retain = float(np.average(each[~forget], weights=counts[~forget]))
    return (float(np.average(each[forget], weights=counts[forget])) if forget.any() else None), retain
