"""A small perceptron for tables: two hidden layers, the second of which are the features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fedunlearn.errors import RequestError
from fedunlearn.models.base import ModelFamily
from fedunlearn.settings.schema import Count


@dataclass(frozen=True)
class PerceptronSettings:
    """Size of the network: on the command line, model.width=64."""

    width: Count = 64  # units of each hidden layer


def encoder(settings: PerceptronSettings, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Rows [n, columns] to features [n, width]. Raises RequestError for samples that are no rows of numbers."""
    if len(shape) != 1:
        raise RequestError(f"model perceptron is for tables, and a sample of this dataset has the shape {list(shape)}")
    layers = [nn.Linear(shape[0], settings.width), nn.ReLU(), nn.Linear(settings.width, settings.width), nn.ReLU()]
    return nn.Sequential(*layers), settings.width


MODEL = ModelFamily("perceptron", PerceptronSettings, encoder)
