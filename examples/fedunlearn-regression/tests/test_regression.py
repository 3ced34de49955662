"""The task, the data and the audit, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fedunlearn_regression.audit import error
from fedunlearn_regression.dataset import DATASET, GROUPS, DiabetesSettings
from fedunlearn_regression.model import MODEL, PerceptronSettings
from fedunlearn_regression.task import TASK, ValueOutputs, chance

from fedunlearn.audits.base import View
from fedunlearn.data.types import Dataset, Split
from fedunlearn.errors import RequestError
from fedunlearn.tasks.base import Batch

SAID = ValueOutputs(torch.zeros(3, 2), torch.tensor([0.0, 1.0, -2.0]))
BATCH = Batch({}, torch.tensor([0.25, 0.0, -2.0]), torch.ones(3))


def test_losses_and_what_follows_from_them():
    torch.testing.assert_close(TASK.losses(SAID, BATCH), torch.tensor([0.03125, 0.5, 0.0]))
    torch.testing.assert_close(TASK.likelihood(SAID, BATCH), torch.tensor([0.03125, 0.5, 0.0]).neg().exp())
    assert TASK.score(SAID, BATCH).tolist() == [1, 1, 1]
    assert TASK.score(SAID, replace(BATCH, targets=torch.tensor([1.5, 0.0, -3.5]))).tolist() == [0, 1, 0]


def test_chance_is_the_score_of_the_mean():
    def split(*targets: float) -> Split:
        return Split({}, torch.tensor(targets), torch.zeros(len(targets), dtype=torch.int64))

    data = Dataset(
        "values", split(1.0, 3.0), split(2.0, 2.9, 3.1, 9.0), ("all",), lambda raw: raw, "values", "regression"
    )
    assert chance(data) == 0.5


def test_the_data_are_split_by_group_and_standardised():
    train, test, names = DATASET.read(DiabetesSettings(), None, False, 0)
    assert (len(train), len(test), names) == (353, 89, GROUPS)
    assert set(train.groups.tolist()) == set(test.groups.tolist()) == {0, 1, 2, 3}
    assert float(train.targets.mean()) == pytest.approx(0, abs=1e-6)
    prepared = DATASET.prepare(train)(train.inputs)["table"]
    torch.testing.assert_close(prepared.mean(0), torch.zeros(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(prepared.std(0, correction=0), torch.ones(10), atol=1e-5, rtol=0)


def test_the_model_is_for_tables():
    module, width = MODEL.encoder(PerceptronSettings(width=5), (10,))
    assert module(torch.zeros(3, 10)).shape == (3, width)
    with pytest.raises(RequestError, match="is for tables"):
        MODEL.encoder(PerceptronSettings(), (1, 8, 8))


def test_the_error_of_nobody_is_not_defined():
    zeros = np.zeros(2)
    view = View(np.zeros((2, 1)), {"value": np.array([1.0, 3.0])}, zeros, zeros, zeros > 0, zeros)
    assert error(view, np.array([True, True])) == 2.0
    assert error(view, np.array([False, False])) is None
