"""The optimiser of a client's round: torch.optim.SGD without its bookkeeping, which costs a small model more than the
step itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from fedunlearn.settings.config import TrainConfig


class Sgd:
    """SGD on these parameters, for one round of one client after another.

    Parameters without a gradient stay as they are; a parameter's momentum begins with its first gradient.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.named = dict(parameters)
        self.parameters = list(self.named.values())
        self._momenta: list[Tensor] = []
        self._begun: list[bool] = []

    def begin(self) -> None:
        """A client's round begins: there is no gradient (a former client may have been interrupted), no momentum."""
        self._begun = [False] * len(self.parameters)
        self._forget_gradients()

    def step(self, training: TrainConfig) -> None:
        """One step along the gradients, which are gone afterwards."""
        if training.momentum and not self._momenta:
            self._momenta = [torch.empty_like(parameter) for parameter in self.parameters]
        groups: dict[tuple[torch.dtype, bool], list[int]] = defaultdict(list)
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                groups[parameter.dtype, self._begun[i]].append(i)
                self._begun[i] = True
        for (_, begun), chosen in groups.items():
            moved: list[Tensor] = [self.parameters[i] for i in chosen]
            momenta = [self._momenta[i] for i in chosen] if training.momentum else []
            descend(moved, [cast(Tensor, each.grad) for each in moved], momenta, training, first=not begun)
        self._forget_gradients()

    def _forget_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


@torch.no_grad()
def descend(
    parameters: list[Tensor],
    gradients: list[Tensor],
    momenta: list[Tensor],
    training: TrainConfig,
    first: bool = False,
) -> None:
    """One step of SGD in place: m ← μ m + g + λ w, w ← w − η m. In the `first` one, m ← g + λ w, whatever m was.

    All of one type of number. `momenta` are not looked at if there is no momentum.
    """
    torch._fused_sgd_(
        parameters,
        gradients,
        momenta if training.momentum else [],
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=first and training.momentum != 0,
    )
