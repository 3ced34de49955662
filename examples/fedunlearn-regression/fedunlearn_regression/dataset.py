"""scikit-learn's diabetes data (Efron et al., Annals of Statistics 2004): ten measurements of 442 patients.

The target is the progression of the disease one year later. A patient's group, which a request can name, is the decade
of age.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_diabetes

from fedunlearn.data.sources import DatasetSource
from fedunlearn.data.splits import Splits, divide, stratified
from fedunlearn.data.types import Inputs, Split
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.schema import Share

AGE = 0  # column
BOUNDS = (40, 50, 60)  # years: where the second, third and fourth group begin
GROUPS = ("under 40", "40 to 49", "50 to 59", "60 and over")


@dataclass(frozen=True)
class DiabetesSettings:
    """What is held out: on the command line, dataset.test_share=0.3."""

    test_share: Share = 0.2  # share of the patients held out, the same of every group


@dataclass(frozen=True)
class Standardised:
    """Prepares the table: every column with zero mean and unit variance in the training set."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: Inputs) -> Inputs:
        """Float32 [n, 10]."""
        table = inputs["table"]
        mean, std = (torch.tensor(values, device=table.device) for values in (self.mean, self.std))
        return {"table": (table - mean) / std}


def read(settings: DiabetesSettings, root: Path, download: bool, seed: int) -> Splits:
    """Training and test patients, and the groups' names. The split depends on the data alone, like all of ours."""
    bunch = load_diabetes(scaled=False)
    groups = np.digitize(bunch.data[:, AGE], BOUNDS)
    held_out = stratified(
        groups, math.ceil(len(groups) * settings.test_share), numpy_stream(0, "split", "diabetes"), leave=1
    )
    kept = np.setdiff1d(np.arange(len(groups)), held_out)
    targets = (bunch.target - bunch.target[kept].mean()) / bunch.target[kept].std()
    table = {"table": torch.from_numpy(bunch.data.astype(np.float32))}
    whole = Split(table, torch.from_numpy(targets.astype(np.float32)), torch.from_numpy(groups.astype(np.int64)))
    return *divide(whole, held_out), GROUPS


def prepare(train: Split) -> Standardised:
    """Mean and deviation of the training patients."""
    table = train.inputs["table"].double()
    mean, std = table.mean(0), table.std(0, correction=0)
    return Standardised(tuple(mean.tolist()), tuple(std.tolist()))


DATASET = DatasetSource("diabetes", DiabetesSettings, read, prepare=prepare, task="regression")
