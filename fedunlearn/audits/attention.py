"""Attention: does a model look where the retrained models look, and does it still see the forgotten class there?

Maps of evidence (Grad-CAM, `grad_cam.py`) of the same test images are compared with those of the retrained models, as
Dorneles, Garcia and Carbonera (arXiv 2505.12581) compare models that were trained with different augmentations. What is
asked of the images is our reading: the evidence for the forgotten class, and the evidence for what the model answers.

It cannot see what was done behind the layer of the maps except through the weights that these are multiplied by. A bias
of the head, as in `head_mask`, has no part in them at all: such a model has the original's maps of every logit. Where
weights of the head alone were edited, maps of the classes whose weights were left alone are the original's, too. The
finding `attention_layer_change` is 0 for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from fedunlearn.audits.answers import small
from fedunlearn.audits.base import Audit, Evidence, FigureData, Findings, Reference, runnable
from fedunlearn.audits.grad_cam import (
    CHUNK,
    MEASURES,
    TOPS,
    activations,
    is_flat,
    kl_divergence,
    maps,
    scaled,
)
from fedunlearn.models.base import Network
from fedunlearn.models.maps import map_layer
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Direction, Finding
from fedunlearn.settings.schema import Count, Whole

FORGET, RETAIN = "forget", "retain"
FORGOTTEN, PREDICTED = "forgotten", "predicted"
SETS = {FORGET: "forget samples", RETAIN: "other samples"}  # which images
LOGITS = {FORGOTTEN: "forgotten logit", PREDICTED: "own answer"}  # what evidence is for
LAYER_CHANGE, EXHIBIT = "attention_layer_change", "attention"
DIGITS = 3  # decimals of a place of a map in the picture


@dataclass(frozen=True)
class AttentionSettings:
    """How much is looked at."""

    samples: Whole = 0  # forget, and retain, test images at most, such as 100; 0: none is looked at
    pictures: Count = 4  # of the forget images are shown


@dataclass(frozen=True)
class Asked:
    """What every model is asked: test images `rows` by set, the forgotten class asked for in each, and the layer.

    `key`: tells it from what else the same models may be asked.
    """

    key: tuple[Any, ...]
    layer: str
    rows: dict[str, np.ndarray]
    forgotten: dict[str, np.ndarray]


@dataclass(frozen=True)
class Seen:
    """A model's maps for one logit. `prepared`: what each measure compares of them."""

    maps: np.ndarray
    prepared: dict[str, np.ndarray]

    @staticmethod
    def of(found: np.ndarray) -> Seen:
        """From maps [n, h, w]."""
        return Seen(found, {name: measure.prepare(found) for name, measure in MEASURES.items()})


def measure(evidence: Evidence, reference: Reference, settings: AttentionSettings) -> Findings:
    """Means over images and (other) retrained models, by name `attention_SET_LOGIT_MEASURE`, and the picture.

    Nothing unless asked for. All None for models without a layer of maps. None without other retrained models (but for
    what needs none), where all maps are flat, and, of forget images and the forgotten logit, below class level.
    """
    if not settings.samples:
        return {}
    key = ("attention", settings, reference.seed, reference.forget_classes)
    asked: Asked = reference.original.notes.once(key, lambda: _asked(key, reference, settings))
    if not asked.layer:
        return dict.fromkeys(FINDINGS)
    own, others = _seen(evidence, asked), reference.others(evidence)
    found: Findings = {LAYER_CHANGE: _layer_change(evidence, reference.original, asked)}
    for which in SETS:
        found[f"attention_{which}_kl"] = _divergence(evidence, others, asked.rows[which])
        for logit in LOGITS:
            theirs = [_seen(other, asked).get((which, logit)) for other in others]
            found |= _compared(f"attention_{which}_{logit}", own.get((which, logit)), theirs)
    if (FORGET, FORGOTTEN) in own and not any(evidence is other for other in reference.retrained[1:]):
        found[EXHIBIT] = _pictured(evidence, evidence is reference.original, asked, settings.pictures)
    return found


def _asked(key: tuple[Any, ...], reference: Reference, settings: AttentionSettings) -> Asked:
    """The same images for every model. Of retain images: the forgotten class for which the original sees most."""
    view, classes = reference.original.test, np.array(reference.forget_classes, dtype=int)
    images = view.samples.raw.get("images")
    if images is None or images.dim() != 4:
        return Asked(key, "", {}, {})
    stream = numpy_stream(reference.seed, "audit", "attention")
    rows = {
        which: np.sort(stream.permutation(np.flatnonzero(mask))[: settings.samples])
        for which, mask in ((FORGET, view.forget), (RETAIN, ~view.forget))
    }
    forgotten = {}
    if len(classes):
        likeliest = classes[view.logits[rows[RETAIN]][:, classes].argmax(axis=1)]
        forgotten = {FORGET: view.labels[rows[FORGET]], RETAIN: likeliest}
    layer = map_layer(_hookable(reference.original), view.samples.at(np.arange(1))["images"])
    return Asked(key, layer, rows, forgotten)


def _hookable(evidence: Evidence) -> Network:
    """A copy of the model, for its hooks; its weights need no gradients, since those of maps begin at their layer."""
    return runnable(evidence).requires_grad_(False)


def _seen(evidence: Evidence, asked: Asked) -> dict[tuple[str, str], Seen]:
    """The model's maps by set and logit, made once for all that it is compared with; none where there are no images."""
    seen: dict[tuple[str, str], Seen] = evidence.notes.once((*asked.key, "maps"), lambda: _looked(evidence, asked))
    return seen


def _looked(evidence: Evidence, asked: Asked) -> dict[tuple[str, str], Seen]:
    model, view, found = _hookable(evidence), evidence.test, {}
    for which, rows in asked.rows.items():
        wanted = {PREDICTED: view.logits[rows].argmax(axis=1)}
        wanted |= {FORGOTTEN: asked.forgotten[which]} if which in asked.forgotten else {}
        for logit, classes in wanted.items() if len(rows) else ():
            images = view.samples.at(rows)["images"]
            found[which, logit] = Seen.of(maps(model, images, torch.as_tensor(classes), asked.layer))
    return found


def _compared(name: str, own: Seen | None, theirs: Sequence[Seen | None]) -> Findings:
    """The findings of one set and logit: the share of flat maps, and every measure."""
    known = [each for each in theirs if each is not None]
    found: Findings = {f"{name}_flat": None if own is None else float(is_flat(own.maps).mean())}
    for measured in MEASURES:
        found[f"{name}_{measured}"] = None if own is None else _mean_of(measured, own, known)
    return found


def _mean_of(measured: str, own: Seen, theirs: Sequence[Seen]) -> float | None:
    """The mean of a measure over images and other models, without pairs of which one is flat."""
    compare = MEASURES[measured].compare
    every = np.array([compare(own.prepared[measured], other.prepared[measured]) for other in theirs])
    known = every[~np.isnan(every)]
    return float(known.mean()) if known.size else None


def _divergence(evidence: Evidence, others: Sequence[Evidence], rows: np.ndarray) -> float | None:
    """From the others' class probabilities to this model's: the mean over images and models."""
    if not len(rows) or not others:
        return None
    q, *every = (softmax(each.test.logits[rows].astype(np.float64), axis=1) for each in (evidence, *others))
    return float(np.mean([kl_divergence(p, q) for p in every]))


def _layer_change(evidence: Evidence, original: Evidence, asked: Asked) -> float | None:
    """Root mean square change of the layer's outputs from the original model's, over the root mean square of these."""
    samples, model, before = evidence.test.samples, _hookable(evidence), _hookable(original)
    rows = np.concatenate([*asked.rows.values()])
    changed = size = 0.0
    for part in np.split(rows, range(CHUNK, len(rows), CHUNK)):
        images = samples.at(part)["images"]
        one, other = (activations(each, images, asked.layer).double() for each in (model, before))
        changed, size = changed + float((one - other).square().sum()), size + float(other.square().sum())
    return (changed / size) ** 0.5 if size else None


def _pictured(evidence: Evidence, pictured: bool, asked: Asked, count: int) -> FigureData:
    """Of some forget images: `label`, `answer`, and for both logits the scaled maps, flat, each of `side` [h, w].

    With `pictured` also the images: `pixels` (uint8, flat) and `shape` [n, C, H, W]; not if they are no bytes.
    """
    view, rows, own = evidence.test, asked.rows[FORGET], _seen(evidence, asked)
    places = np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))
    chosen, raw = rows[places], view.samples.raw["images"]
    drawn = {logit: scaled(own[FORGET, logit].maps[places]) for logit in LOGITS}
    found: FigureData = {
        "label": view.labels[chosen].tolist(),
        "answer": view.logits[chosen].argmax(axis=1).tolist(),
        "side": list(drawn[FORGOTTEN].shape[1:]),
        **{logit: each.round(DIGITS).flatten().tolist() for logit, each in drawn.items()},
    }
    if not pictured or raw.dtype != torch.uint8:
        return found
    images = small(raw.cpu()[torch.as_tensor(chosen)])
    return {**found, "shape": list(images.shape), "pixels": images.flatten().tolist()}


WORDS: dict[str, tuple[str, str, Direction, str]] = {
    "absolute_difference": ("map difference", "mean absolute difference of its maps of evidence", "distance", "0 to 2"),
    "squared_difference": (
        "squared map difference",
        "mean squared difference of its maps of evidence",
        "distance",
        "0 to 4",
    ),
    "pearson": ("map correlation", "correlation of its maps of evidence", "similarity", "-1 to 1"),
    "spearman": ("map rank correlation", "rank correlation of its maps of evidence", "similarity", "-1 to 1"),
    **{
        f"overlap_{share}": (
            f"map overlap, top {share} %",
            f"what the strongest {share} % of places in its maps of evidence have in common",
            "similarity",
            "0 to 1",
        )
        for share in TOPS
    },
}


def _declared() -> Iterator[Finding]:
    yield Finding(
        LAYER_CHANGE,
        "change at the layer of maps",
        "how far the features that maps are made of moved from the original's; 0: only later layers were edited",
        scale="at least 0",
    )
    for which, samples in SETS.items():
        yield Finding(
            f"attention_{which}_kl",
            f"KL of answers ({which})",
            f"divergence of its class probabilities from the retrained models', in nats ({samples})",
            "distance",
            "0 to 18.4",
        )
        for logit, asked in LOGITS.items():
            name, where = f"attention_{which}_{logit}", f"({samples}, {asked})"
            short = f"({which}, {asked})"
            yield Finding(
                f"{name}_flat",
                f"flat maps {short}",
                f"share of its maps of evidence that say nothing of where, and are left out of the next {where}",
                scale="0 to 1",
            )
            for measured, (label, meaning, direction, scale) in WORDS.items():
                told = f"{meaning} {'from' if direction == 'distance' else 'with'} the retrained models' {where}"
                yield Finding(f"{name}_{measured}", f"{label} {short}", told, direction, scale)


NUMBERS = tuple(_declared())
FINDINGS = tuple(finding.name for finding in NUMBERS)
PICTURE = Finding(EXHIBIT, "attention", "where the models see evidence in forgotten images (a picture)", kind="figure")


AUDITS = {
    "attention": Audit(
        "attention",
        AttentionSettings,
        measure,
        findings=lambda settings: (PICTURE, *NUMBERS) if settings.samples else (PICTURE,),
        libraries=lambda settings: ("captum",) if settings.samples else (),
        about="does it look where the retrained models look? Off unless there are samples",
    )
}
