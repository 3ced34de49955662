"""Many clients' local SGD as one: their models in one stack of parameters, one vectorised step for all of them.

The gradient of every client's loss comes from `torch.func`: `vmap` over the stack of `grad` of a functional call of
the model. Ragged clients need no masks in the optimiser: clients are ordered by their number of steps, so those that
still have steps to take are the first ones of the stack; a batch that is shorter than the longest one is filled up
with rows of weight 0, which no loss looks at. Every client so takes the very steps of `sgd.train`, with sums in
another order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from fedunlearn.data.types import Inputs
from fedunlearn.federation.augmenting import Augmenter, Drawn, joined, mixed_with
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Assignment, Constrain, Objective, Passes, RoundContext, Tensors
from fedunlearn.federation.optimiser import descend, slots
from fedunlearn.federation.sgd import Assigned, Trained, assigned, never
from fedunlearn.models.base import Around, Network
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch, Task

CLIP_GUARD = 1e-6  # added to the norm of a gradient, as torch.nn.utils.clip_grad_norm_ does


@dataclass(frozen=True)
class Portion:
    """A client's portion of a stack: its data, what they are held against, and all of its batches in order.

    `drawn`: what was drawn for each of them, where images are augmented.
    """

    client: ClientData
    samples: Assigned
    batches: list[Tensor]
    last: int  # number of the first batch of the last epoch
    augmenter: Augmenter | None = None
    drawn: tuple[Drawn, ...] = ()

    @property
    def rows(self) -> int:
        """Samples that count."""
        return int((self.samples.weights != 0).sum())

    def batch(self, number: int) -> Batch:
        """One of its batches, of samples as they are."""
        chosen = self.batches[number]
        beside = {name: rows[chosen] for name, rows in self.samples.beside.items()}
        held = self.samples.targets[chosen], self.samples.weights[chosen]
        return Batch(self.client.inputs(chosen), *held, beside=beside)


def portion(
    client: ClientData,
    decided: Assignment,
    training: TrainConfig,
    order: torch.Generator,
    augmenter: Augmenter | None = None,
) -> Portion:
    """What a client would go through in `sgd.train`, `order` shuffling likewise."""
    samples, epochs = assigned(decided, client), range(training.local_epochs)
    rows = samples.weights.nonzero()[:, 0]
    cut = [client.task.batches(rows, samples.targets, training.batch_size, order) for _ in epochs]
    every = [batch for epoch in cut for batch in epoch]
    drawn = tuple(augmenter.drawn(len(batch)) for batch in every) if augmenter else ()
    return Portion(client, samples, every, len(every) - len(cut[-1]), augmenter, drawn)


class Gradients:
    """Loss and gradient of every client of a stack. Made once for a model and an objective, used for many stacks.

    `model` is a workspace: its architecture matters, its weights do not. `moved` are the names of the parameters
    that the objective has a gradient for; all others stay as they are, in every client.
    """

    def __init__(
        self, model: Network, task: Task, objective: Objective, bf16: bool = False, compiled: bool = False
    ) -> None:
        self.model, self.task, self.objective, self._bf16 = model, task, objective, bf16
        self._step = Around(model, self._held_against)
        self.moved: tuple[str, ...] | None = None
        together = vmap(grad_and_value(self._loss, has_aux=True), in_dims=(0, None, 0, 0, 0, 0, 0, None, None, None))
        self._together = torch.compile(together, dynamic=True) if compiled else together

    def context(self, round_number: int, shared: Tensors, received: Tensors) -> RoundContext:
        """What every client of the stack knows."""
        return RoundContext(self.task, round_number, shared, received, self.model)

    def __call__(
        self, stack: Tensors, rest: Tensors, batch: Batch, context: RoundContext
    ) -> tuple[Tensors, Tensor, Tensors]:
        """Gradients like `stack` [k, …], losses [k], and what the objective keeps [k, b, …].

        For a batch whose rows are [k, b, …].
        """
        held = batch.targets, batch.weights, dict(batch.mixed), dict(batch.beside)
        known = context.shared, context.received, context.round
        gradients, (losses, kept) = self._together(stack, rest, dict(batch.inputs), *held, *known)
        return gradients, losses, kept

    def probe(self, batch: Batch, context: RoundContext) -> None:
        """Find out what `moved` is, from one client's batch."""
        self.model.train()
        parameters: Tensors = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        known = (context.shared, context.received, context.round)
        held = batch.targets, batch.weights, batch.mixed, batch.beside
        loss, _ = self._loss(parameters, {}, batch.inputs, *held, *known)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        self.moved = tuple(n for n, gradient in zip(parameters, gradients, strict=True) if gradient is not None)

    def held_bytes(self, inputs: Inputs) -> int:
        """Bytes that one model keeps in memory between a batch's forward and backward pass."""
        held: list[int] = []

        def note(tensor: Tensor) -> Tensor:
            held.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self.task.outputs(self.model, inputs)
        return sum(held)

    def _loss(self, moved: Tensors, rest: Tensors, *batch_and_known: Any) -> tuple[Tensor, Tensors]:
        """Loss and what is kept, with these weights: `model` holds them meanwhile, for losses that read them."""
        weights = {f"model.{name}": value for name, value in {**rest, **moved}.items()}
        loss_and_kept: tuple[Tensor, Tensors] = functional_call(self._step, weights, batch_and_known)
        return loss_and_kept

    def _held_against(
        self,
        inputs: Inputs,
        targets: Tensor,
        weights: Tensor,
        mixed: Tensors,
        beside: Tensors,
        shared: Tensors,
        received: Tensors,
        round_number: int,
    ) -> tuple[Tensor, Tensors]:
        batch = Batch(inputs, targets, weights, mixed=mixed, beside=beside)
        context = self.context(round_number, shared, received)
        with torch.autocast(weights.device.type, torch.bfloat16, enabled=self._bf16):
            said = self.objective.says(self.model, batch, context)
        said = _in_float32(said) if self._bf16 else said
        loss = self.objective.loss(said, batch, context)
        return loss, self.objective.keep(said) if self.objective.keep else {}


def _in_float32(said: Any) -> Any:
    """The same outputs, a frozen dataclass, with its bfloat16 tensors widened: losses are taken in float32."""
    wide = {field.name: getattr(said, field.name) for field in fields(said)}
    return replace(said, **{name: v.float() for name, v in wide.items() if getattr(v, "dtype", None) == torch.bfloat16})


def train(
    gradients: Gradients,
    portions: list[Portion],
    context: RoundContext,
    training: TrainConfig,
    check: Callable[[], None] = never,
) -> list[tuple[Tensors, Trained]]:
    """What `sgd.train` makes of the received model for every portion: its state, and what it did.

    `check` is called before every step, and what it raises ends the training.
    """
    received = context.received
    order = sorted((i for i in range(len(portions)) if portions[i].batches), key=lambda i: -len(portions[i].batches))
    outcomes = [(received, Trained(0, 0, 0.0)) for _ in portions]
    if not order:
        return outcomes
    data = StackedData([portions[i] for i in order])
    if gradients.moved is None:
        gradients.probe(portions[order[0]].batch(0), context)
    stack = {name: _repeat(received[name], len(order)) for name in gradients.moved or ()}
    losses, kept = _descend(gradients, stack, data, context, training, check)
    for place, i in enumerate(order):
        own, steps = portions[i], len(portions[i].batches)
        state = {name: stack[name][place] if name in stack else received[name] for name in received}
        processed = sum(len(batch) for batch in own.batches)
        seconds = data.seconds / len(order)
        passes = _passes(own, place, kept) if gradients.objective.keep else None
        outcomes[i] = (state, Trained(own.rows, processed, float(losses[place]) / steps, seconds, passes))
    return outcomes


def _descend(
    gradients: Gradients,
    stack: Tensors,
    data: StackedData,
    context: RoundContext,
    training: TrainConfig,
    check: Callable[[], None],
) -> tuple[Tensor, list[Tensors]]:
    """All steps of all clients, in place.

    The sums of their losses over the steps, [K], and what the objective keeps of each step: nothing until the first
    client is in its last epoch.
    """
    rest = {name: value for name, value in context.received.items() if name not in stack}
    memory = [{name: torch.zeros_like(value) for name, value in stack.items()} for _ in range(slots(training))]
    totals, kept = torch.zeros(data.clients, device=data.device), list[Tensors]()
    for step in range(data.steps):
        check()
        batch = data.batch(step)
        active = len(batch.weights)  # the first ones of the stack; the others are done
        now = {name: value[:active] for name, value in stack.items()}
        slopes, losses, said = gradients(now, rest, batch, context)
        kept.append(said if step >= data.last else {})
        if gradients.objective.clip is not None:
            slopes = clipped(slopes, gradients.objective.clip)
        remembered = [[slot[name][:active] for name in now] for slot in memory]
        descend(list(now.values()), [slopes[name].contiguous() for name in now], remembered, training, step)
        if gradients.objective.constrain:
            _constrain(gradients.objective.constrain, now, rest, context)
        totals[:active] += losses
    return totals, kept


def _passes(own: Portion, place: int, kept: list[Tensors]) -> Passes | None:
    """Of the client at this place of a stack; without what fills its batches up."""
    chosen = own.batches[own.last :]
    steps = zip(kept[own.last :], chosen, strict=False)
    return Passes.joined(chosen, [{n: rows[place, : len(batch)] for n, rows in said.items()} for said, batch in steps])


def clipped(gradients: Tensors, most: float) -> Tensors:
    """Every client's gradient shortened to the norm `most` (all parameters together) where it is longer."""
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
    factor = (most / (torch.stack(squares).sum(0).sqrt() + CLIP_GUARD)).clamp_max(1.0)
    return {name: value * factor.view(-1, *[1] * (value.dim() - 1)) for name, value in gradients.items()}


def _constrain(constrain: Constrain, now: Tensors, rest: Tensors, context: RoundContext) -> None:
    # Parameters without a gradient are the same for every client; they are shown, but stay what they are.
    changed = vmap(lambda own: {**rest, **constrain({**rest, **own}, context)})(now)
    for name, value in now.items():
        value.copy_(changed[name])


class StackedData:
    """The batches of the clients of a stack, who come in order of their number of steps, most first."""

    def __init__(self, portions: list[Portion]) -> None:
        started = time.perf_counter()
        self.device = portions[0].samples.weights.device
        self.clients, self.steps = len(portions), len(portions[0].batches)
        self.last = min(own.last for own in portions)  # first step of somebody's last epoch
        self._everybody = together([own.client for own in portions])
        sizes = torch.tensor([len(own.client) for own in portions])
        self._starts = (sizes.cumsum(0) - sizes).to(self.device)
        self._targets = torch.cat([own.samples.targets for own in portions])
        self._weights = torch.cat([own.samples.weights for own in portions])
        known = portions[0].samples.beside
        self._beside = {name: torch.cat([own.samples.beside[name] for own in portions]) for name in known}
        self._lengths = [
            [len(own.batches[step]) for own in portions if step < len(own.batches)] for step in range(self.steps)
        ]
        longest = max(max(lengths) for lengths in self._lengths)
        plan = torch.zeros((self.steps, self.clients, longest), dtype=torch.int64)
        there = torch.zeros(plan.shape)
        for place, own in enumerate(portions):
            for step, batch in enumerate(own.batches):
                plan[step, place] = batch[0].cpu()  # what fills a batch up is as harmless as what is in it
                plan[step, place, : len(batch)], there[step, place, : len(batch)] = batch.cpu(), 1.0
        self._plan, self._there = plan.to(self.device), there.to(self.device)
        self._augmenter, self._drawn = portions[0].augmenter, [own.drawn for own in portions]
        self.seconds = time.perf_counter() - started

    def batch(self, step: int) -> Batch:
        """The rows [k, b, …] of the k clients with that many steps."""
        started = time.perf_counter()
        lengths = self._lengths[step]
        positions = self._plan[step, : len(lengths), : max(lengths)]
        rows = (positions + self._starts[: len(lengths), None]).flatten()
        targets = _in_rows(self._targets[rows], positions)
        weights = self._weights[rows].view(positions.shape) * self._there[step, : len(lengths), : max(lengths)]
        raw, mixed = self._everybody.taken(self._everybody.rows[rows]), Tensors()
        known = {name: _in_rows(values[rows], positions) for name, values in self._beside.items()}
        if self._augmenter:
            drawn = joined([own[step] for own in self._drawn[: len(lengths)]])
            raw, share = self._augmenter(raw, drawn)
            mixed = mixed_with(drawn, share, targets, weights, known)
        inputs = {name: _in_rows(values, positions) for name, values in self._everybody.prepare(raw).items()}
        self.seconds += time.perf_counter() - started
        return Batch(inputs, targets, weights, mixed=mixed, beside=known)


def _in_rows(values: Tensor, positions: Tensor) -> Tensor:
    return values.reshape(*positions.shape, *values.shape[1:])


def together(clients: list[ClientData]) -> ClientData:
    """The samples of all clients, one client after the other. Raises ValueError where they differ in `prepare`."""
    first = clients[0]
    if any(client.prepare != first.prepare for client in clients):
        raise ValueError("clients prepare their inputs in different ways")
    if all(client.raw is first.raw for client in clients):
        return replace(first, rows=torch.cat([client.rows for client in clients]))
    each = [client.taken(client.rows) for client in clients]
    raw = {name: torch.cat([inputs[name] for inputs in each]) for name in each[0]}
    return replace(first, raw=raw, rows=torch.arange(sum(map(len, clients)), device=first.rows.device))


def _repeat(value: Tensor, times: int) -> Tensor:
    return value.detach().expand(times, *value.shape).clone(memory_format=torch.contiguous_format)


def refusal(modules: Iterable[nn.Module]) -> str:
    """Why models of these modules, in training mode, cannot be stacked; nothing if they can."""
    for module in modules:
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            return "batch normalisation would mix the rows that fill up short batches into its statistics"
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            return "dropout draws from a generator that clients do not share"
    return ""
