"""Ensembles: models like the one that is measured, beside as many retrained ones, sample by sample.

What audits of ensembles make of few models is biased: two halves of the same ensemble look different, the more so the
fewer they are. So all comparisons are of the same size. Half of the retrained models are compared with as many models
like the one that is measured: originals, unlearned models, or the other half of the retrained ones. Every retrained
model is once the first of the half that is measured; the same draws are made for original and unlearned models, whose
values are means over all of them. (Our reading. EasyDUB compares whole ensembles, and has no floor.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.base import Evidence, Reference
from fedunlearn.audits.margins import asked_for, margins
from fedunlearn.randomness import numpy_stream

RETRAINED = 16  # models at least, so that a comparison is one of eight with eight
REPLICAS = 7  # at least; with the run's own model, eight
LIMIT = 100.0  # margins beyond it are cut off, as in EasyDUB: a masked logit is no number
QUANTILES = tuple(step / 20 for step in range(21))

Logits = Mapping[str, np.ndarray]  # by split


@dataclass(frozen=True)
class Asked:
    """Samples of a split, at `rows` [n], and what every model is asked: class `classes` [n] among `shown` (bool)."""

    split: str
    rows: np.ndarray
    shown: np.ndarray
    classes: np.ndarray

    def of(self, models: list[Logits]) -> np.ndarray:
        """Margins of all samples in every model, float64 [models, n], from −100 to 100."""
        found = [margins(each[self.split][self.rows], self.shown, self.classes) for each in models]
        return np.asarray(np.clip(np.stack(found), -LIMIT, LIMIT))


def check(replicas: int) -> None:
    """Raises ValueError for too few replicas."""
    if 0 < replicas < REPLICAS:
        raise ValueError(f"replicas must be 0 (off) or at least {REPLICAS}, not {replicas}")


def retrained(replicas: int) -> int:
    """How many retrained models are needed beside so many replicas."""
    return RETRAINED if replicas else 0


def asked(reference: Reference, samples: int) -> dict[str, Asked]:
    """What is asked, by name; of `samples` samples each at most, drawn by seed.

    `forget`: training samples to be forgotten, by their label among all classes; `neighbour`: the same, by the class
    that retrained models take them for, among the classes that stay (only if a class was forgotten and two or more
    stay); `retain` and `test`: training and test samples that are not to be forgotten, by their label.
    """
    train, test = reference.original.train, reference.original.test
    everything = np.ones(reference.classes, dtype=bool)
    chosen = {
        "forget": _drawn(reference, "forget", train.forget, samples),
        "retain": _drawn(reference, "retain", ~train.forget, samples),
        "test": _drawn(reference, "test", ~test.forget, samples),
    }
    found = {
        name: Asked(split, chosen[name], everything, view.labels[chosen[name]])
        for name, split, view in (("forget", "train", train), ("retain", "train", train), ("test", "test", test))
    }
    if reference.forget_classes and len(reference.retain_classes) > 1:
        shown, classes = asked_for(reference)
        places = np.searchsorted(np.flatnonzero(train.forget), chosen["forget"])
        found["neighbour"] = Asked("train", chosen["forget"], shown, classes[places])
    return found


def pairs(evidence: Evidence, reference: Reference, asked: Asked) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Margins of models like the one that is measured and of as many retrained ones, both [h, n]; a pair for each draw.

    Of a retrained model: itself with others like it, against as many of those that are left.
    """
    retrained, alike = asked.of(_retrained(reference)), _alike(evidence, reference)
    models = asked.of(alike) if alike else retrained
    size = min(len(retrained) // 2, len(models))
    for number, measured in enumerate(reference.retrained):
        mine, theirs, like = _draw(reference, number, size, len(models))
        if not alike and measured is evidence:
            yield retrained[mine], retrained[theirs]
        if alike:
            yield models[like], retrained[theirs]


def whole(evidence: Evidence, reference: Reference, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    """Margins of all models like the one that is measured, and of all retrained ones; of a retrained one, in halves."""
    alike = _alike(evidence, reference)
    if not alike:
        return next(pairs(evidence, reference, asked))
    return asked.of(alike), asked.of(_retrained(reference))


def quantiles(found: np.ndarray) -> list[float]:
    """The `QUANTILES` over samples of what was found in each draw [draws, n]; means over draws."""
    return list(np.quantile(found, QUANTILES, axis=1).mean(axis=1).tolist())


def _alike(evidence: Evidence, reference: Reference) -> list[Logits]:
    """The model that is measured, and the replicas in its role; nothing for a retrained model."""
    if any(evidence is other for other in reference.retrained):
        return []
    before = evidence is reference.original
    return [_said(evidence), *(each.original if before else each.unlearned for each in reference.replicas)]


def _retrained(reference: Reference) -> list[Logits]:
    return [_said(each) for each in reference.retrained]


def _said(evidence: Evidence) -> Logits:
    return {"train": evidence.train.logits, "test": evidence.test.logits}


def _draw(reference: Reference, number: int, size: int, alike: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of retrained models, `number` first; of as many others; and of as many out of `alike` other models."""
    stream = numpy_stream(reference.seed, "audit", "ensembles", number)
    count = len(reference.retrained)
    others = stream.permutation(np.delete(np.arange(count), number))
    return np.append(number, others[: size - 1]), others[size - 1 : 2 * size - 1], stream.permutation(alike)[:size]


def _drawn(reference: Reference, name: str, mask: np.ndarray, samples: int) -> np.ndarray:
    """At most `samples` of the marked ones, in their order."""
    rows = np.flatnonzero(mask)
    stream = numpy_stream(reference.seed, "audit", "ensembles", name)
    return np.sort(stream.choice(rows, min(samples, len(rows)), replace=False))
