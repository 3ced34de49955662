"""FedAvg on retain data in one process, for an audit that asks what becomes of a model when the federation goes on.

Every client that holds retain samples takes part in every round, with SGD as in training (a test compares these steps
with those of `federation.sgd`). Nothing else of a federation is to be measured, so there are no messages and no engine.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fedunlearn.audits.base import SideBySide, View
from fedunlearn.models.base import Network
from fedunlearn.randomness import torch_stream
from fedunlearn.settings.schema import AtLeast, Below, Count, NonNegative, Positive
from fedunlearn.tasks.base import shuffled

State = dict[str, Tensor]


@dataclass(frozen=True)
class Pace:
    """How clients train: as in `train`, with the same defaults."""

    local_epochs: Count = 1
    batch_size: Count = 20
    lr: Positive = 0.03  # of SGD
    momentum: Annotated[float, AtLeast(0), Below(1)] = 0.9
    weight_decay: NonNegative = 5e-4


def rounds(
    model: Network, view: View, clients: Sequence[np.ndarray], pace: Pace, seed: int, side_by_side: SideBySide
) -> Iterator[Network]:
    """The global model after each round of FedAvg, for ever, in evaluation mode; always the same object.

    `model` is trained in place, on its device. `clients`: the samples of `view` that each of them trains on.
    """
    held = {number: rows for number, rows in enumerate(clients) if len(rows) > 1}
    number = 0
    while True:
        number += 1
        calls = [
            partial(trained, model, view, rows, pace, torch_stream(seed, "audit", "dormancy", number, client))
            for client, rows in held.items()
        ]
        model.load_state_dict(average(side_by_side(calls), [len(rows) for rows in held.values()]))
        yield model.eval()


def trained(model: Network, view: View, rows: np.ndarray, pace: Pace, order: torch.Generator) -> State:
    """A client's model after its local epochs on its samples of `view`; `model`, what it received, stays as it is."""
    own = copy.deepcopy(model).train()
    parameters = [parameter for parameter in own.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(parameters, pace.lr, pace.momentum, weight_decay=pace.weight_decay)
    targets, everything = torch.as_tensor(view.labels[rows]), torch.arange(len(rows))
    for _ in range(pace.local_epochs):
        for batch in shuffled(everything, targets, pace.batch_size, order):
            optimiser.zero_grad()
            logits = own(view.samples.at(rows[batch.numpy()]))
            torch.autograd.backward(F.cross_entropy(logits, targets[batch].to(logits.device)))
            optimiser.step()
    return {name: value.detach() for name, value in own.state_dict().items()}


def average(states: Sequence[Mapping[str, Tensor]], counts: Sequence[int]) -> State:
    """The mean of models, weighted by `counts`; what is no floating-point number is the first one's."""
    shares = [count / sum(counts) for count in counts]

    def mean(name: str, first: Tensor) -> Tensor:
        if not first.is_floating_point():
            return first
        total = sum(share * state[name].double() for share, state in zip(shares, states, strict=True))
        return torch.as_tensor(total).to(first.dtype)

    return {name: mean(name, first) for name, first in states[0].items()}
