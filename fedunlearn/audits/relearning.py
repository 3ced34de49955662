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
from functools import partial
from itertools import islice
from typing import Annotated, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedunlearn.audits.base import Audit, Call, Evidence, Findings, Reference, View, runnable
from fedunlearn.audits.prototype_relearning import accuracies, highest_bias
from fedunlearn.data.types import Inputs
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import AtLeast, Count, Fraction, Positive

FEWEST_ASKED = 8  # samples at a time beyond those that may fail: fewer would not be answered sooner
TIE = 1e-300  # margin of a wrong answer whose logit is the label's


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
    names = ["relearn_batches", *(f"fewshot_{shots}_accuracy" for shots in settings.shots)]
    if not reference.forget_classes:
        return dict.fromkeys(names)
    start = unmasked(evidence, list(reference.forget_classes), settings.cost)
    attacks = [_Attack(evidence, start, settings, (reference.seed, seed)) for seed in range(settings.seeds)]
    goal = _share_right(reference.original.test) - settings.margin
    calls: list[Call] = [partial(attack.batches_until, goal) for attack in attacks]
    calls += [partial(attack.accuracy_after, shots) for shots in settings.shots for attack in attacks]
    found = np.reshape(reference.side_by_side(calls), (len(names), settings.seeds))
    return dict(zip(names, found.mean(axis=1).tolist(), strict=True))


class _Attack:
    """Relearning of one model with the samples that one seed draws, the same for every model.

    `start`: the model that the attacker begins with; `seeds`: of the run, and of the attack.
    """

    def __init__(
        self, evidence: Evidence, start: nn.Module, settings: RelearningSettings, seeds: tuple[int, int]
    ) -> None:
        self._evidence, self._start, self._settings = evidence, start, settings
        self._stream = (seeds[0], "audit", "relearning", seeds[1])
        stream = numpy_stream(*self._stream, "test")
        self._asked = np.sort(stream.permutation(np.flatnonzero(evidence.test.forget))[: settings.test_samples])

    def batches_until(self, goal: float) -> int:
        """Mini-batches until forget accuracy reaches `goal`, at most the cap."""
        forget = np.flatnonzero(self._evidence.train.forget)
        exam = Exam(*_shown(self._evidence.test, self._asked), goal)
        for count, model in enumerate(self._trained(forget)):
            if count == self._settings.cap or exam.is_passed_by(model):
                return count
        raise AssertionError("training never ends by itself")

    def accuracy_after(self, shots: int) -> float:
        """Forget accuracy after training with `shots` forget samples."""
        forget = numpy_stream(*self._stream, shots).permutation(np.flatnonzero(self._evidence.train.forget))[:shots]
        model = next(islice(self._trained(forget), self._settings.steps, None))
        return float((margins(model, *_shown(self._evidence.test, self._asked)) >= 0).mean())

    def _trained(self, forget: np.ndarray) -> Iterator[nn.Module]:
        """The model after each mini-batch, in evaluation mode, whose statistics a few samples cannot upset."""
        model = copy.deepcopy(self._start)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        train, half = self._evidence.train, self._settings.batch_size // 2
        retain = np.flatnonzero(~train.forget)
        stream = numpy_stream(*self._stream, "batches")
        while True:
            yield model
            batch = np.concatenate([_drawn(forget, half, stream), _drawn(retain, half, stream)])
            images, labels = _shown(train, batch)
            slopes = torch.autograd.grad(F.cross_entropy(model(images), labels), parameters, allow_unused=True)
            with torch.no_grad():  # plain SGD; the optimiser of the library takes longer than the step of a small model
                for parameter, slope in zip(parameters, slopes, strict=True):
                    if slope is not None:
                        parameter.sub_(slope, alpha=self._settings.lr)


class Exam:
    """Does a model know enough of some samples, asked again after every step? Asks no more than it must.

    The share of right answers must be `goal` at least, a float32 as PyTorch's means are. Samples that were furthest
    from right when they were last asked come first: while these few are wrong, the others cannot change the answer.
    """

    def __init__(self, images: Inputs, labels: Tensor, goal: float) -> None:
        self._images, self._labels = images, labels
        count = len(labels)
        shares = np.arange(count + 1, dtype=np.float32) / np.float32(max(1, count))
        self._needed = int((shares.astype(np.float64) < goal).sum())
        self._margins = np.zeros(count)  # as they were found last

    def is_passed_by(self, model: nn.Module) -> bool:
        """Does it give enough right answers?"""
        count = len(self._labels)
        may_fail = count - self._needed
        order, failed = np.argsort(self._margins, kind="stable"), 0
        for rows in np.split(order, range(FEWEST_ASKED + may_fail, count, FEWEST_ASKED + may_fail)):
            chosen = torch.as_tensor(rows, device=self._labels.device)
            images = {name: values[chosen] for name, values in self._images.items()}
            self._margins[rows] = margins(model, images, self._labels[chosen])
            failed += int((self._margins[rows] < 0).sum())
            if failed > may_fail:
                return False
        return True


@torch.no_grad()
def margins(model: nn.Module, images: Inputs, labels: Tensor) -> np.ndarray:
    """By how much the label's logit exceeds all others, float64 [n]; below 0: the answer is wrong.

    Of equal logits the first is the answer, as for `argmax`.
    """
    logits = model(images).double()
    own = logits.gather(1, labels[:, None]).squeeze(1)
    best = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    wrong = logits.argmax(1) != labels
    return torch.where(wrong, torch.minimum(own - best, own.new_tensor(-TIE)), own - best).cpu().numpy()


@torch.no_grad()
def unmasked(evidence: Evidence, classes: list[int], cost: float) -> nn.Module:
    """A copy in evaluation mode with the biases of `classes` as high as the `cost` in retain accuracy allows."""
    model = runnable(evidence)
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
