"""The optimiser of a client's round: those of torch.optim without their bookkeeping, which costs a small model more
than the step itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fedunlearn.settings.config import TrainConfig

BETA2, EPSILON = 0.999, 1e-8  # of AdamW, as everywhere
Slots = list[list[Tensor]]  # what is remembered from step to step: tensors like the parameters, once or twice


@dataclass(frozen=True)
class Rule:
    """How an optimiser moves. `slots(training)`: how many numbers it remembers of each parameter.

    `move(parameters, gradients, slots, training, taken)`: a step in place, after so many that were `taken` before.
    """

    slots: Callable[[TrainConfig], int]
    move: Callable[[list[Tensor], list[Tensor], Slots, TrainConfig, int], None]


class Optimiser:
    """Moves these parameters, for one round of one client after another, as `TrainConfig.optimiser` says.

    Parameters without a gradient stay as they are; what is remembered of one begins with its first gradient.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.named = dict(parameters)
        self.parameters = list(self.named.values())
        self._slots: Slots = []
        self._taken: list[int] = []

    def begin(self) -> None:
        """A client's round begins: there is no gradient (a former client may have been interrupted), no memory."""
        self._taken = [0] * len(self.parameters)
        self._forget_gradients()

    def step(self, training: TrainConfig) -> None:
        """One step along the gradients, which are gone afterwards."""
        wanted = slots(training)
        while len(self._slots) < wanted:
            self._slots.append([torch.empty_like(parameter) for parameter in self.parameters])
        groups: dict[tuple[torch.dtype, int], list[int]] = defaultdict(list)
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                groups[parameter.dtype, self._taken[i]].append(i)
                self._taken[i] += 1
        for (_, taken), chosen in groups.items():
            moved: list[Tensor] = [self.parameters[i] for i in chosen]
            kept = [[slot[i] for i in chosen] for slot in self._slots[:wanted]]
            descend(moved, [cast(Tensor, each.grad) for each in moved], kept, training, taken)
        self._forget_gradients()

    def _forget_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def slots(training: TrainConfig) -> int:
    """How many tensors like each parameter the optimiser remembers."""
    return RULES[training.optimiser].slots(training)


@torch.no_grad()
def descend(parameters: list[Tensor], gradients: list[Tensor], kept: Slots, training: TrainConfig, taken: int) -> None:
    """One step in place, all of one type of number. `kept`: `slots(training)` lists; if `taken` is 0, of anything."""
    RULES[training.optimiser].move(parameters, gradients, kept, training, taken)


def sgd(parameters: list[Tensor], gradients: list[Tensor], kept: Slots, training: TrainConfig, taken: int) -> None:
    """m ← μ m + g + λ w, w ← w − η m. In the first step, m ← g + λ w."""
    torch._fused_sgd_(
        parameters,
        gradients,
        kept[0] if training.momentum else [],
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=taken == 0 and training.momentum != 0,
    )


def adamw(parameters: list[Tensor], gradients: list[Tensor], kept: Slots, training: TrainConfig, taken: int) -> None:
    """Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv 1711.05101, with β1 = momentum.

    w ← w − η λ w − η m̂ / (√v̂ + ε), with the means m and v of gradients and their squares, without their bias to 0.
    """
    if taken == 0:
        torch._foreach_zero_([tensor for slot in kept for tensor in slot])
    number = torch.full((), taken + 1.0, device=parameters[0].device)
    torch._fused_adamw_(
        parameters,
        gradients,
        kept[0],
        kept[1],
        [],
        [number] * len(parameters),
        lr=training.lr,
        beta1=training.momentum,
        beta2=BETA2,
        weight_decay=training.weight_decay,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )


RULES = {
    "sgd": Rule(lambda training: int(training.momentum != 0), sgd),
    "adamw": Rule(lambda training: 2, adamw),
}
