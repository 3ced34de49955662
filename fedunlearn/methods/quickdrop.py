"""QuickDrop: every client distils its data to a few images a class, and forgetting and recovery use nothing else.

Dhasade et al., "QuickDrop: Efficient Federated Unlearning via Synthetic Data Generation", Middleware 2024, arXiv
2311.15603. The images of a class are changed until the gradient that they give is the one that the real images give
(gradient matching: Zhao et al., "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv 2006.05929). A
request is then served in two phases: ascent on the distilled forget images, as in the authors' code by training on
them and reflecting the result, w ← w_0 + (w_0 − w_sgd); and recovery by FedAvg on the distilled retain images. A model
that is sure of its forget data hardly moves in the first rounds of ascent and then goes fast, so that we stop at an
accuracy on the distilled forget images, counted between the rounds, where the authors take a fixed number of rounds.
At client level, where even a retrained model is right about most of them, there is one round of ascent, as theirs.

There, gradients are matched during federated training, along the global model's way. Here it is done after the fact
(our deviation), once and on the client alone: along the way of a freshly initialised network that follows the
gradients of the real images. So the images depend on the client's data and seed only, and a client that has lost its
memory computes the same ones again. They are kept with eight bits a pixel and never leave the client. A class has at
least two of them where the client has as many images, since a batch of one trains nothing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fedunlearn.data.types import Inputs, Normaliser
from fedunlearn.federation import wire
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.methods.phases import check_fit, phase
from fedunlearn.models.base import Network, trained
from fedunlearn.randomness import torch_stream
from fedunlearn.settings.config import TrainConfig
from fedunlearn.settings.schema import Count, Fraction, Positive, Share

IMAGE_MOMENTUM = 0.5  # as in the code of both papers
ASCENT_SHARE = {"class": 0.5, "client": 0.0}  # of all rounds, at most (but one), where forget_rounds is null


@dataclass(frozen=True)
class QuickDrop:
    """Hyper-parameters."""

    share: Share = 0.01  # distilled images of a class, as a share of the client's images of it; at least two
    steps: Count = 10  # of gradient matching
    image_lr: Positive = 0.03  # learning rate of the distilled images
    network_lr: Positive = 0.01  # of the network along whose way gradients are matched
    real_batch: Count = 32  # real images of a class in a matching step, at most
    # rounds of ascent, at most; null: half of all, or one at client level; the others recover
    forget_rounds: Count | None = None
    forget_epochs: Count = 2  # local epochs of the ascent
    forget_lr: Positive = 0.3  # learning rate of the ascent; chosen as docs/methods.md says
    clip: Positive = 1.0  # largest norm of a batch's gradient, in the recovery as well
    stop_accuracy: Fraction = 0.1  # the ascent ends at this accuracy on the distilled forget images


class DroppingServer(UnlearningStrategy):
    """Has the clients distil, then forget, then recover."""

    settings: QuickDrop

    def __init__(self, settings: QuickDrop, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings, spec, pack, device)
        self.limit = phase(settings.forget_rounds, ASCENT_SHARE[spec.level], spec.training.rounds)
        self._sent: Tensors = {}

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Distillation; it counts as work."""
        done = clients.total("distil", model)
        self.cost.samples += int(done["samples"])
        self.notes["distilled_images"] = int(done["images"])
        self.shared = {"forget": torch.ones((), dtype=torch.uint8, device=self.device)}
        return model

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """Go over to the recovery when the ascent has done enough or has had its rounds."""
        if self.forgets() and number > 1 and (number > self.limit or self.enough(model)):
            self.shared = {"forget": torch.zeros_like(self.shared["forget"])}
        self.notes["forget_rounds"] = number if self.forgets() else self.notes["forget_rounds"]
        self._sent = model
        return model

    def forgets(self) -> bool:
        """Does the ascent last?"""
        return bool(self.shared["forget"])

    def enough(self, model: Tensors) -> bool:
        """Is the model bad enough on the distilled forget images?"""
        counts = self.clients.total("known", model)
        return bool(counts["right"] <= self.settings.stop_accuracy * counts["held"])

    def training(self, number: int) -> TrainConfig:
        """The ascent has a pace of its own and, as in the authors' code, neither momentum nor weight decay."""
        if not self.forgets():
            return self.spec.training
        lr, epochs = self.settings.forget_lr, self.settings.forget_epochs
        return replace(self.spec.training, lr=lr, local_epochs=epochs, momentum=0.0, weight_decay=0.0)

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """In the ascent, the reflection; averaging first and reflecting then is the same as the other way round."""
        if not self.forgets():
            return model
        parameters = trained(self.new_model(0))
        return {name: 2 * was - model[name] if name in parameters else was for name, was in self._sent.items()}


def distilled(settings: QuickDrop, model: Network, client: ClientData) -> ClientData:
    """The client with its distilled images in place of its own, from its memory or made now."""
    if not len(client):
        return client
    if "images" not in client.memory:
        client.memory.update(distil(settings, model, client))
    kept = client.memory
    rows, raw = torch.arange(len(kept["labels"]), device=client.rows.device), {"images": kept["images"]}
    labels = kept["labels"]
    return replace(client, rows=rows, targets=labels, groups=labels, forget=kept["forget"].bool(), raw=raw)


def distil(settings: QuickDrop, model: Network, client: ClientData) -> Tensors:
    """`images`: uint8 [m, C, H, W], with `labels` [m] and `forget` [m]: the few that stand for all."""
    stream = torch_stream(client.seed, "distil")
    groups = [(client.targets == label).nonzero()[:, 0] for label in torch.unique(client.targets)]
    chosen = [shuffled(group, stream)[: images_for(len(group), settings.share)] for group in groups]
    images = [client.inputs(rows)["images"].requires_grad_() for rows in chosen]
    network = fresh(model, stream)
    optimiser = torch.optim.SGD(images, lr=settings.image_lr, momentum=IMAGE_MOMENTUM)
    with torch.enable_grad():
        for _ in range(settings.steps):
            batches = [shuffled(group, stream)[: settings.real_batch] for group in groups]
            settle(network, client.inputs(torch.cat(batches)))
            match(network, images, batches, client, optimiser, settings.network_lr)
    rows, made = torch.cat(chosen), torch.cat(images).detach()
    kept = {"labels": client.targets[rows], "forget": client.forget[rows].to(torch.uint8)}
    return {"images": to_pixels(made, cast(Normaliser, client.prepare)), **kept}


def match(
    network: Network,
    images: Sequence[Tensor],
    batches: Sequence[Tensor],
    client: ClientData,
    optimiser: torch.optim.Optimizer,
    network_lr: float,
) -> None:
    """One step of the images of every class towards its real gradient, and one of the network along the latter."""
    parameters = list(trained(network).values())
    total, step = torch.zeros((), device=images[0].device), [torch.zeros_like(p) for p in parameters]
    for made, rows in zip(images, batches, strict=True):
        label = client.targets[rows[:1]]
        real = gradient(network, client.inputs(rows)["images"], label, parameters)
        ours = gradient(network, made, label, parameters, create_graph=True)
        total = total + gradient_distance(ours, real)
        step = [s + g / len(images) for s, g in zip(step, real, strict=True)]
    for made, slope in zip(images, torch.autograd.grad(total, images), strict=True):
        made.grad = slope
    optimiser.step()
    with torch.no_grad():
        for parameter, change in zip(parameters, step, strict=True):
            parameter.sub_(network_lr * change)


def gradient(
    network: Network, images: Tensor, label: Tensor, parameters: Sequence[Tensor], create_graph: bool = False
) -> tuple[Tensor, ...]:
    """Of the mean cross-entropy of `images`, all of class `label` [1]."""
    loss = F.cross_entropy(network({"images": images}), label.expand(len(images)))
    return torch.autograd.grad(loss, parameters, create_graph=create_graph)


def gradient_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Σ over layers and output units of 1 − cosine; biases and other vectors are left out, as in the papers' code."""
    pairs = ((a.flatten(1), b.flatten(1)) for a, b in zip(first, second, strict=True) if a.dim() > 1)
    return torch.stack([(1 - F.cosine_similarity(a, b, dim=1, eps=1e-6)).sum() for a, b in pairs]).sum()


def images_for(held: int, share: float) -> int:
    """How many images stand for `held`: that share of them, rounded up, at least two if there are as many."""
    return min(held, max(2, math.ceil(share * held)))


def shuffled(rows: Tensor, stream: torch.Generator) -> Tensor:
    """`rows` in random order."""
    return rows[torch.randperm(len(rows), generator=stream).to(rows.device)]


@torch.no_grad()
def fresh(model: Network, stream: torch.Generator) -> Network:
    """A copy with new random weights (He et al. 2015) that do not depend on those of `model`."""
    network = copy.deepcopy(model).eval()
    for name, parameter in trained(network).items():
        if parameter.dim() > 1:
            spread = math.sqrt(2 / parameter[0].numel())
            parameter.copy_(spread * torch.randn(parameter.shape, generator=stream))
        else:
            parameter.fill_(float(name.endswith("weight")))
    return network


@torch.no_grad()
def settle(network: Network, inputs: Inputs) -> None:
    """Give layers of batch normalisation the statistics of `inputs`, for the many small batches of one class."""
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.momentum = 1.0
    if layers:
        network.train()(inputs)
        network.eval()


def to_pixels(images: Tensor, normalise: Normaliser) -> Tensor:
    """Normalised images as uint8."""
    mean = torch.tensor(normalise.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(normalise.std, device=images.device).view(1, -1, 1, 1)
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def phase_samples(model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Forget images in the ascent, retain images in the recovery; the others are left out."""
    return Assignment((client.forget == context.shared["forget"].bool()).float())


def report_distilled(model: Network, client: ClientData, settings: QuickDrop, spec: StageSpec) -> Tensors:
    """The answer to the query `distil`: `images` made, and `samples` that went through the network for that."""
    images = len(distilled(settings, model, client))
    real = client.targets.bincount().clamp_max(settings.real_batch).sum()
    return {"images": torch.tensor(float(images)), "samples": settings.steps * (images + real).double()}


def count_known(model: Network, client: ClientData, settings: QuickDrop, spec: StageSpec) -> Tensors:
    """The answer to the query `known`: the number of distilled forget images, and of those the model gets right."""
    data = distilled(settings, model, client)
    held = data.forget.nonzero()[:, 0]
    right = observed(model, data, held)["logits"].argmax(1) == data.targets[held]
    return {"right": right.sum().float(), "held": torch.tensor(float(len(held)))}


METHODS = {
    "quickdrop": Method(
        name="quickdrop",
        title="QuickDrop",
        settings=QuickDrop,
        grid={"method.forget_lr": (0.3, 0.1, 1.0), "method.share": (0.01, 0.05)},
        objective=lambda settings, spec: Objective(
            phase_samples, clip=settings.clip, substitute=partial(distilled, settings)
        ),
        strategy=DroppingServer,
        queries={"distil": report_distilled, "known": count_known},
        levels=frozenset({"class", "client"}),
        check=lambda settings, config: check_fit(config, forget_rounds=settings.forget_rounds),
    )
}
