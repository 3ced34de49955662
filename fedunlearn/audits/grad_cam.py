"""Where in an image a model finds evidence for a class, and how alike two such maps are.

Grad-CAM: Selvaraju et al., ICCV 2017, arXiv 1610.02391. With the maps A^k of a layer and α_k, the mean over places of
∂z_c/∂A^k, the evidence for class c is Σ_k α_k A^k. The paper cuts it off below zero; here it keeps its sign, since
evidence against a class is evidence too, and a map that is negative everywhere would come out empty. Computed by captum
(`LayerGradCam`).

The measures are those by which Dorneles, Garcia and Carbonera (arXiv 2505.12581) compare the maps of two models: mean
absolute and squared difference, Pearson's and Spearman's correlation, overlap, and the Kullback-Leibler divergence of
class probabilities. How maps are scaled, how ties are broken and what counts as flat is our reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import rel_entr
from scipy.stats import rankdata
from torch import Tensor, nn

CHUNK = 64  # images at a time; fixed, because the last bits of a convolution can depend on it
FLAT = 1e-6  # of the largest absolute value: differences within a float32 map that are no more than rounding
LEAST_PROBABILITY = 1e-8  # that a model is taken to give a class, or one masked class would make a divergence infinite
TOPS = (5, 15, 25)  # per cent of a map's places

Compare = Callable[[np.ndarray, np.ndarray], np.ndarray]


def maps(model: nn.Module, images: Tensor, targets: Tensor, layer: str) -> np.ndarray:
    """Evidence for the logit `targets[i]` in image i, with its sign: float64 [n, h, w], as large as the layer's maps.

    `images`: float [n, C, H, W], as the model eats them; `targets`: int64 [n]; `layer`: the name of a layer that puts
    out [n, channels, h, w] (`models.maps.map_layer` finds one). The model has to be in evaluation mode.
    """
    from captum.attr import LayerGradCam  # here, so that only those who use it load it

    cam = LayerGradCam(lambda shown: model({"images": shown}), model.get_submodule(layer))
    parts = zip(torch.split(images, CHUNK), torch.split(targets.to(images.device), CHUNK), strict=True)
    found: list[Any] = [cam.attribute(shown, target=wanted) for shown, wanted in parts]
    return np.asarray(torch.cat(found)[:, 0].detach().double().cpu().numpy())


def activations(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """What that layer puts out, [n, channels, h, w]."""
    from captum.attr import LayerActivation

    with torch.no_grad():
        found = LayerActivation(lambda shown: model({"images": shown}), model.get_submodule(layer)).attribute(images)
    return torch.as_tensor(found)


def is_flat(maps: np.ndarray) -> np.ndarray:
    """Bool [n]: which of the maps [n, h, w] have the same value everywhere, and say nothing of where."""
    return np.asarray(np.ptp(maps, axis=(1, 2)) <= FLAT * np.abs(maps).max(axis=(1, 2)))


# What is compared of maps [n, h, w], one of them at a time -------------------------------------------------------


def scaled(maps: np.ndarray) -> np.ndarray:
    """Maps divided by their largest absolute value, within [-1, 1]; one that is zero everywhere stays so.

    Evidence is in units of logits, and how large these are is a matter of how long a model was trained: without a
    common scale, differences would compare that. Zero and sign stay what they are, unlike in scaling from lowest to
    highest value, where evidence against a class everywhere could come out like evidence for it.
    """
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0))


def values(maps: np.ndarray) -> np.ndarray:
    """The maps, where not flat; NaN where they are."""
    return np.where(is_flat(maps)[:, None, None], np.nan, maps)


def ranks(maps: np.ndarray) -> np.ndarray:
    """The ranks of a map's values, equal values sharing their mean; NaN where a map is flat."""
    found = rankdata(maps.reshape(len(maps), -1), axis=1).reshape(maps.shape)
    return np.where(is_flat(maps)[:, None, None], np.nan, found)


def top(maps: np.ndarray, per_cent: float) -> np.ndarray:
    """How far each place belongs to the highest `per_cent` of its map, in [0, 1]; NaN where a map is flat.

    They add up to exactly that share of the places: of equal values at its edge, each belongs to the same part.
    """
    rows = maps.reshape(len(maps), -1)
    wanted = rows.shape[1] * per_cent / 100
    last = max(0, int(np.ceil(wanted)) - 1)  # where the lowest value that belongs to it stands in order
    edge = -np.partition(-rows, last, axis=1)[:, [last]]
    above, tied = rows > edge, rows == edge
    part = (wanted - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    found = np.where(above, 1.0, np.where(tied, part, 0.0)).reshape(maps.shape)
    return np.where(is_flat(maps)[:, None, None], np.nan, found)


# How two of these compare, [n] -----------------------------------------------------------------------------------


def mean_absolute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference."""
    return np.asarray(np.abs(a - b).mean(axis=(1, 2)))


def mean_squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean squared difference."""
    return np.asarray(np.square(a - b).mean(axis=(1, 2)))


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation, in [-1, 1]."""
    a, b = (x - x.mean(axis=(1, 2), keepdims=True) for x in (a, b))
    size = np.sqrt(np.square(a).sum(axis=(1, 2)) * np.square(b).sum(axis=(1, 2)))
    return np.asarray(np.clip((a * b).sum(axis=(1, 2)) / size, -1, 1))


def jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What two sets have in common of what they have together, in [0, 1]."""
    return np.asarray(np.minimum(a, b).sum(axis=(1, 2)) / np.maximum(a, b).sum(axis=(1, 2)))


@dataclass(frozen=True)
class Measure:
    """Compares maps [n, h, w] image by image: `compare` on what `prepare` makes of each; NaN where a map is flat."""

    prepare: Callable[[np.ndarray], np.ndarray]
    compare: Compare

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[n]."""
        return self.compare(self.prepare(a), self.prepare(b))


MEASURES: dict[str, Measure] = {
    "absolute_difference": Measure(scaled, mean_absolute),  # in [0, 2]; of flat maps too
    "squared_difference": Measure(scaled, mean_squared),  # in [0, 4]; of flat maps too
    "pearson": Measure(values, correlation),
    "spearman": Measure(ranks, correlation),
    **{f"overlap_{share}": Measure(partial(top, per_cent=share), jaccard) for share in TOPS},
}


def kl_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p ‖ q) in nats between rows of class probabilities [n, classes]; [n], at least 0 and at most 18.4."""
    return np.asarray(np.maximum(rel_entr(p, np.maximum(q, LEAST_PROBABILITY)).sum(axis=1), 0))
