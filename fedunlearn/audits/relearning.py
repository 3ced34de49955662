"""Relearning: how soon, and from how few samples, a model learns the forgotten class again.

Relearn time is the number of mini-batches until forget accuracy is within a margin of the original model's (Chundawat
et al., arXiv 2201.05629, whose Anamnesis Index is its quotient by that of a retrained model). Few-shot relearning
gives a fixed number of steps on k forget samples (accuracy after relearning: FUSED, arXiv 2502.20709). The start is
our reading: the attacker first raises the forgotten biases as far as she can at a small cost in retain accuracy, in
every model alike. Otherwise a large constant in a bias (`head_mask`) would take longer to undo than the class to
learn, and would pass for erasure.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.audits.prototype_relearning import accuracies, highest_bias
from fedunlearn.data.types import Inputs
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import AtLeast, Count, Fraction, Positive


@dataclass(frozen=True)
class RelearningSettings:
    """How the attacker trains: plain SGD, half of every mini-batch forget and half retain samples."""

    lr: Positive = 0.003  # of plain SGD; small, so that the number of mini-batches can tell models apart
    batch_size: Annotated[int, AtLeast(2)] = 32  # half forget and half retain samples
    margin: Fraction = 0.1  # relearnt: forget accuracy is at most this far below the original model's
    # retain accuracy on training data that raising the forgotten biases may cost, before the first step
    cost: Fraction = 0.01
    cap: Count = 100  # mini-batches after which the attacker gives up; counted as this many
    shots: tuple[Count, ...] = (5, 10, 50)  # forget samples of the few-shot attacks, over all forgotten classes
    steps: Count = 10  # mini-batches of a few-shot attack
    seeds: Count = 3  # attacks with other samples, to average over
    test_samples: Count = 200  # forget test samples that accuracy is measured on, at most


def measure(evidence: Evidence, reference: Reference, settings: RelearningSettings) -> Findings:
    """`relearn_batches` in 0..cap, and `fewshot_K_accuracy` in [0, 1] for every number of shots K.

    Means over seeds, of the forget test samples. All None below class level. The model is left as it is.
    """
    names = [f"fewshot_{shots}_accuracy" for shots in settings.shots]
    if not reference.forget_classes:
        return dict.fromkeys(["relearn_batches", *names])
    attacks = [_Attack(evidence, reference, settings, seed) for seed in range(settings.seeds)]
    goal = _share_right(reference.original.test) - settings.margin
    findings: Findings = {"relearn_batches": float(np.mean([attack.batches_until(goal) for attack in attacks]))}
    for name, shots in zip(names, settings.shots, strict=True):
        findings[name] = float(np.mean([attack.accuracy_after(shots) for attack in attacks]))
    return findings


class _Attack:
    """Relearning of one model with the samples that one seed draws, the same for every model."""

    def __init__(self, evidence: Evidence, reference: Reference, settings: RelearningSettings, seed: int) -> None:
        self._evidence, self._settings, self._classes = evidence, settings, list(reference.forget_classes)
        self._stream = (reference.seed, "audit", "relearning", seed)
        stream = numpy_stream(*self._stream, "test")
        asked = np.sort(stream.permutation(np.flatnonzero(evidence.test.forget))[: settings.test_samples])
        self._images, self._labels = _shown(evidence.test, asked)

    def batches_until(self, goal: float) -> int:
        """Mini-batches until forget accuracy reaches `goal`, at most the cap."""
        forget = np.flatnonzero(self._evidence.train.forget)
        for count, model in enumerate(self._trained(forget)):
            if count == self._settings.cap or self._accuracy(model) >= goal:
                return count
        raise AssertionError("training never ends by itself")

    def accuracy_after(self, shots: int) -> float:
        """Forget accuracy after training with `shots` forget samples."""
        forget = numpy_stream(*self._stream, shots).permutation(np.flatnonzero(self._evidence.train.forget))[:shots]
        steps = self._trained(forget)
        for _ in range(self._settings.steps + 1):
            model = next(steps)
        return self._accuracy(model)

    def _trained(self, forget: np.ndarray) -> Iterator[nn.Module]:
        """A neutral copy of the model after each mini-batch; in evaluation mode, whose statistics a few samples
        cannot upset."""
        model = unmasked(self._evidence, self._classes, self._settings.cost)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.SGD(parameters, self._settings.lr)
        train, half = self._evidence.train, self._settings.batch_size // 2
        retain = np.flatnonzero(~train.forget)
        stream = numpy_stream(*self._stream, "batches")
        while True:
            yield model
            batch = np.concatenate([_drawn(forget, half, stream), _drawn(retain, half, stream)])
            images, labels = _shown(train, batch)
            optimiser.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(images), labels))
            optimiser.step()

    @torch.no_grad()
    def _accuracy(self, model: nn.Module) -> float:
        return float((model(self._images).argmax(1) == self._labels).float().mean())


@torch.no_grad()
def unmasked(evidence: Evidence, classes: list[int], cost: float) -> nn.Module:
    """A copy in evaluation mode with the biases of `classes` as high as the `cost` in retain accuracy allows."""
    model = copy.deepcopy(evidence.model).eval()
    train = evidence.train
    forgotten = np.isin(np.arange(train.logits.shape[1]), classes)
    least = accuracies(train.logits, train.labels, forgotten)[1] - cost
    cast(nn.Linear, model.head).bias[classes] += highest_bias(train.logits, train.labels, forgotten, least)
    return model


def _drawn(positions: np.ndarray, count: int, stream: np.random.Generator) -> np.ndarray:
    """`count` of `positions`, none more than once where there are enough."""
    return stream.choice(positions, count, replace=len(positions) < count)


def _shown(view: View, positions: np.ndarray) -> tuple[Inputs, Tensor]:
    return view.samples.at(positions), torch.as_tensor(view.labels[positions], device=view.samples.device)


def _share_right(view: View) -> float:
    return float((view.logits.argmax(axis=1) == view.labels)[view.forget].mean())


def declared(settings: RelearningSettings) -> tuple[Finding, ...]:
    """`relearn_batches`, and a finding for every number of shots."""
    batches = Finding(
        "relearn_batches",
        "relearn batches",
        "mini-batches until the forgotten classes are known again; 0: they were known all along",
        "down",
        "0 to the cap",
        counted=True,
        finest=1.0,
    )
    return batches, *(
        Finding(
            f"fewshot_{shots}_accuracy",
            f"{shots}-shot accuracy",
            f"forget accuracy after a few steps with {shots} forget samples",
            "up",
            "0 to 1",
        )
        for shots in settings.shots
    )


AUDITS = {
    "relearning": Audit(
        "relearning",
        RelearningSettings,
        measure,
        findings=declared,
        about="how soon, and from how few samples, is the class learnt again? The costliest of the default audits",
    )
}
