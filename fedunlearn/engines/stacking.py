"""Many clients' local SGD as one: their models in one stack of parameters, one vectorised step for all of them.

The gradient of every client's loss comes from `torch.func`: `vmap` over the stack of `grad` of a functional call of
the model. Ragged clients need no masks in the optimiser: clients are ordered by their number of steps, so those that
still have steps to take are the first ones of the stack; a batch that is shorter than the longest one is filled up
with rows of target −1 (or zeros), which no loss looks at. Every client so takes the very steps of `sgd.train`, with
sums in another order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Objective, Tensors, present
from fedunlearn.federation.sgd import Trained, batches, never
from fedunlearn.models.base import Classifier
from fedunlearn.settings.config import TrainConfig

CLIP_GUARD = 1e-6  # added to the norm of a gradient, as torch.nn.utils.clip_grad_norm_ does


@dataclass(frozen=True)
class Portion:
    """A client's share of a stack: its data, their targets, and all of its batches in order."""

    client: ClientData
    targets: Tensor
    batches: list[Tensor]

    @property
    def rows(self) -> int:
        """Samples with a target."""
        return int(present(self.targets).sum())


def share(client: ClientData, targets: Tensor, training: TrainConfig, order: torch.Generator) -> Portion:
    """What a client would go through in `sgd.train`, `order` shuffling likewise."""
    rows = present(targets).nonzero()[:, 0]
    epochs = range(training.local_epochs)
    return Portion(client, targets, [batch for _ in epochs for batch in batches(rows, training.batch_size, order)])


class _Outputs(nn.Module):
    """A model that returns features and logits."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.features(x)
        return features, self.model.head(features)


class Gradients:
    """Loss and gradient of every client of a stack. Made once for a model and an objective, used for many stacks.

    `model` is a workspace: its architecture matters, its weights do not. `moved` are the names of the parameters
    that the objective has a gradient for; all others stay as they are, in every client.
    """

    def __init__(self, model: Classifier, objective: Objective, bf16: bool = False, compiled: bool = False) -> None:
        self.model, self.objective, self._bf16 = model, objective, bf16
        self._outputs = _Outputs(model)
        self.moved: tuple[str, ...] | None = None
        together = vmap(grad_and_value(self._loss), in_dims=(0, None, 0, 0, None))
        self._together = torch.compile(together, dynamic=True) if compiled else together

    def __call__(
        self, stack: Tensors, rest: Tensors, x: Tensor, targets: Tensor, shared: Tensors
    ) -> tuple[Tensors, Tensor]:
        """Gradients like `stack` [k, …] and losses [k], for images [k, b, C, H, W] and targets [k, b] (or more)."""
        gradients, losses = self._together(stack, rest, x, targets, shared)
        return gradients, losses

    def probe(self, x: Tensor, targets: Tensor, shared: Tensors) -> None:
        """Find out what `moved` is, from one batch."""
        self.model.train()
        parameters: Tensors = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        loss = self._loss(parameters, {}, x, targets, shared)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        self.moved = tuple(n for n, gradient in zip(parameters, gradients, strict=True) if gradient is not None)

    def held_bytes(self, x: Tensor) -> int:
        """Bytes that one model keeps in memory between a batch's forward and backward pass."""
        held: list[int] = []

        def note(tensor: Tensor) -> Tensor:
            held.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self._outputs(x)
        return sum(held)

    def _loss(self, moved: Tensors, rest: Tensors, x: Tensor, targets: Tensor, shared: Tensors) -> Tensor:
        weights = {f"model.{name}": value for name, value in {**rest, **moved}.items()}
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._bf16):
            features, logits = functional_call(self._outputs, weights, (x,))
        return self.objective.loss(features.float(), logits.float(), targets, shared)


def train(
    gradients: Gradients,
    received: Tensors,
    shares: list[Portion],
    shared: Tensors,
    training: TrainConfig,
    check: Callable[[], None] = never,
) -> list[tuple[Tensors, Trained]]:
    """What `sgd.train` makes of the model `received` for every share: its state, and what it did.

    `check` is called before every step, and what it raises ends the training.
    """
    order = sorted((i for i in range(len(shares)) if shares[i].batches), key=lambda i: -len(shares[i].batches))
    outcomes = [(received, Trained(0, 0, 0.0)) for _ in shares]
    if not order:
        return outcomes
    data = StackedData([shares[i] for i in order])
    first = shares[order[0]]
    if gradients.moved is None:
        gradients.probe(first.client.images(first.batches[0]), first.targets[first.batches[0]], shared)
    stack = {name: _repeat(received[name], len(order)) for name in gradients.moved or ()}
    rest = {name: value for name, value in received.items() if name not in stack}
    losses = _descend(gradients, stack, rest, received, data, shared, training, check)
    for place, i in enumerate(order):
        own, steps = shares[i], len(shares[i].batches)
        state = {name: stack[name][place] if name in stack else received[name] for name in received}
        processed = sum(len(batch) for batch in own.batches)
        seconds = data.seconds / len(order)
        outcomes[i] = (state, Trained(own.rows, processed, float(losses[place]) / steps, seconds))
    return outcomes


def _descend(
    gradients: Gradients,
    stack: Tensors,
    rest: Tensors,
    received: Tensors,
    data: StackedData,
    shared: Tensors,
    training: TrainConfig,
    check: Callable[[], None],
) -> Tensor:
    """All steps of all clients, in place; the sums of their losses over the steps, [K]."""
    momenta = {name: torch.zeros_like(value) for name, value in stack.items()}
    totals = torch.zeros(data.clients, device=data.device)
    for step in range(data.steps):
        check()
        x, targets = data.batch(step)
        active = len(x)  # the first ones of the stack; the others are done
        now = {name: value[:active] for name, value in stack.items()}
        slopes, losses = gradients(now, rest, x, targets, shared)
        if gradients.objective.clip is not None:
            slopes = clipped(slopes, gradients.objective.clip)
        for name, value in now.items():
            slope = slopes[name].add(value, alpha=training.weight_decay)
            value.sub_(momenta[name][:active].mul_(training.momentum).add_(slope), alpha=training.lr)
        if gradients.objective.constrain:
            _constrain(gradients.objective.constrain, now, rest, received, shared)
        totals[:active] += losses
    return totals


def clipped(gradients: Tensors, most: float) -> Tensors:
    """Every client's gradient shortened to the norm `most` (all parameters together) where it is longer."""
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
    factor = (most / (torch.stack(squares).sum(0).sqrt() + CLIP_GUARD)).clamp_max(1.0)
    return {name: value * factor.view(-1, *[1] * (value.dim() - 1)) for name, value in gradients.items()}


def _constrain(
    constrain: Callable[[Tensors, Tensors, Tensors], Tensors],
    now: Tensors,
    rest: Tensors,
    received: Tensors,
    shared: Tensors,
) -> None:
    # Parameters without a gradient are the same for every client; they are shown, but stay what they are.
    changed = vmap(lambda own: {**rest, **constrain({**rest, **own}, received, shared)})(now)
    for name, value in now.items():
        value.copy_(changed[name])


class StackedData:
    """The batches of the clients of a stack, who come in order of their number of steps, most first."""

    def __init__(self, shares: list[Portion]) -> None:
        started = time.perf_counter()
        self.device = shares[0].targets.device
        self.clients, self.steps = len(shares), len(shares[0].batches)
        self._images = images_of([own.client for own in shares])
        sizes = torch.tensor([len(own.client) for own in shares])
        self._starts = (sizes.cumsum(0) - sizes).to(self.device)
        self._targets = torch.cat([own.targets for own in shares])
        self._lengths = [
            [len(own.batches[step]) for own in shares if step < len(own.batches)] for step in range(self.steps)
        ]
        longest = max(max(lengths) for lengths in self._lengths)
        plan = torch.full((self.steps, self.clients, longest), -1)
        for place, own in enumerate(shares):
            for step, batch in enumerate(own.batches):
                plan[step, place, : len(batch)] = batch.cpu()
        self._plan = plan.to(self.device)
        self.seconds = time.perf_counter() - started

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images [k, b, C, H, W] and targets [k, b] (or [k, b, classes]) of the k clients with that many steps."""
        started = time.perf_counter()
        lengths = self._lengths[step]
        positions = self._plan[step, : len(lengths), : max(lengths)]
        filled = positions < 0
        rows = (positions.clamp_min(0) + self._starts[: len(lengths), None]).flatten()
        targets = self._targets[rows].view(*positions.shape, *self._targets.shape[1:])
        nothing = -1 if targets.dim() == 2 else 0
        targets = targets.masked_fill(filled.view(*filled.shape, *[1] * (targets.dim() - 2)), nothing)
        images = self._images(rows)
        x = images.reshape(*positions.shape, *images.shape[1:])
        self.seconds += time.perf_counter() - started
        return x, targets


def images_of(clients: list[ClientData]) -> Callable[[Tensor], Tensor]:
    """Normalised images by row of all clients' data, one after the other."""
    first = clients[0]
    if all(client.pixels is first.pixels and client.normalise == first.normalise for client in clients):
        index = torch.cat([client.index for client in clients])
        return lambda rows: first.normalise(first.pixels[index[rows]])
    table = torch.cat([client.images(torch.arange(len(client), device=client.labels.device)) for client in clients])
    return partial(torch.index_select, table, 0)


def _repeat(value: Tensor, times: int) -> Tensor:
    return value.detach().expand(times, *value.shape).clone(memory_format=torch.contiguous_format)


def refusal(modules: Iterable[nn.Module]) -> str:
    """Why models of these modules cannot be stacked; nothing if they can."""
    for module in modules:
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return "batch normalisation would mix the rows that fill up short batches into its statistics"
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            return "dropout draws from a generator that clients do not share"
    return ""
