"""Evidence made of numbers chosen by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pytest
from torch import nn

from fedunlearn.audits.base import Evidence, View


class MakeView(Protocol):
    def __call__(self, logits: Any, labels: Any, forget: Sequence[int] = (), features: Any = None) -> View: ...


class MakeEvidence(Protocol):
    def __call__(self, logits: Any, labels: Any, forget: Sequence[int] = (), features: Any = None) -> Evidence: ...


@pytest.fixture(scope="session")
def view() -> MakeView:
    def make(logits: Any, labels: Any, forget: Sequence[int] = (), features: Any = None) -> View:
        logits, labels = np.asarray(logits, dtype=np.float32), np.asarray(labels, dtype=np.int64)
        z = logits if features is None else np.asarray(features, dtype=np.float32)
        return View(z, logits, labels, np.isin(labels, forget))

    return make


@pytest.fixture(scope="session")
def evidence(view: MakeView) -> MakeEvidence:
    """The same outputs on both splits."""

    def make(logits: Any, labels: Any, forget: Sequence[int] = (), features: Any = None) -> Evidence:
        split = view(logits, labels, forget, features)
        return Evidence(nn.Identity(), split, split)

    return make
