"""What the history of a step says about every round, in numbers that people read."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedunlearn.federation.federation import Federation


def round_values(entry: dict[str, Any], federation: Federation) -> dict[str, float]:
    """What a round's entry in a history says.

    Forget and retain accuracy on the test split, the training loss and, if there were any, the clients left out.
    """
    forget, retain = split_scores(entry["scores"], federation)
    values = {
        "forget_accuracy": forget,
        "retain_accuracy": retain,
        "train_loss": entry.get("loss"),
        "failures": entry.get("failures"),
    }
    return {name: value for name, value in values.items() if value is not None}


def split_scores(scores: list[float], federation: Federation) -> tuple[float | None, float]:
    """(forget, retain) test score from the mean scores of the groups; forget is None below class level."""
    counts = np.bincount(federation.test.groups.cpu().numpy(), minlength=federation.dataset.classes)
    forget = np.isin(np.arange(federation.dataset.classes), federation.request.classes)
    each = np.asarray(scores)
    retain = float(np.average(each[~forget], weights=counts[~forget]))
    return (float(np.average(each[forget], weights=counts[forget])) if forget.any() else None), retain
