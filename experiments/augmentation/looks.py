"""Where the original models look, compared as in Dorneles, Garcia and Carbonera (arXiv 2505.12581).

For every test image, the map of evidence (Grad-CAM) for its true class is compared with that of a model without
augmentation. What the paper leaves open to us is our reading: the class that is explained, the layer (the last one with
maps of at least 7x7), how maps are scaled, and that a model is compared with those without augmentation from *other*
starting states. So the line of `none` shows what starting states alone do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.metrics import precision_recall_fscore_support

from experiments.sweeps import Location
from fedunlearn.audits.grad_cam import MEASURES, is_flat, kl_divergence, maps
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation.federation import Federation
from fedunlearn.models.base import Network
from fedunlearn.models.maps import map_layer
from fedunlearn.runs import pipeline, steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.steps import ORIGINAL
from fedunlearn.settings.config import RunConfig

KL = "kl"
NONE = "none"
AT_ONCE = 256  # images


@dataclass(frozen=True)
class Looks:
    """A model of an augmentation and a starting state on the n test images.

    `maps`: [n, h, w]; `logits`: [n, classes]; `labels`: [n].
    """

    augment: str
    seed: int
    maps: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    @property
    def scores(self) -> dict[str, float]:
        """Accuracy, and precision, recall and F1 averaged over classes."""
        answers = self.logits.argmax(1)
        found = precision_recall_fscore_support(self.labels, answers, average="macro", zero_division=0)
        return {"accuracy": float((answers == self.labels).mean())} | dict(
            zip(("precision", "recall", "f1"), map(float, found[:3]), strict=True)
        )


def configured(words: Sequence[str], place: Location) -> RunConfig:
    """A job's configuration."""
    return command_line.read([*words, *place.data_words(), f"store.dir={place.store}"], conf_dir())


def looked(config: RunConfig) -> Looks:
    """What the original model of a run makes of the test images."""
    outcome = pipeline.carried_out(config, only_original, Console(quiet=True))
    model, test = outcome.federation.models.fresh(0), outcome.federation.dataset.test
    model.load_state_dict(outcome.original.tensors)
    images = outcome.federation.dataset.prepare(test.inputs)["images"]
    logits, found = shown(model.cpu().eval().requires_grad_(False), images, test.targets)
    return Looks(config.augment.name, config.seed, found, logits, test.targets.numpy())


def only_original(config: RunConfig, federation: Federation) -> steps.RunSteps:
    """The steps of a run, up to the original model."""
    every = steps.of_run(config, federation)
    return replace(every, models=every.of(ORIGINAL), audits=())


def shown(model: Network, images: torch.Tensor, labels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and maps of evidence for the true class."""
    with torch.no_grad():
        logits = torch.cat([model({"images": part}) for part in images.split(AT_ONCE)])
    return logits.double().numpy(), maps(model, images, labels, map_layer(model, images))


def compared(found: Sequence[Looks]) -> pd.DataFrame:
    """A row for each model: scores, share of flat maps, and every measure's mean over images and baselines.

    The baselines are the models without augmentation of the other starting states.
    """
    baselines = [each for each in found if each.augment == NONE]
    rows = []
    for each in found:
        others = pd.DataFrame([differences(each, base) for base in baselines if base.seed != each.seed])
        own = {"augment": each.augment, "seed": each.seed, **each.scores, "flat": float(is_flat(each.maps).mean())}
        rows.append(own | others.mean().to_dict())
    return pd.DataFrame(rows)


def differences(each: Looks, base: Looks) -> dict[str, float]:
    """Every measure's mean over the images on which neither map is flat, and the divergence from the baseline."""
    by_measure = {name: _mean(measure(each.maps, base.maps)) for name, measure in MEASURES.items()}
    p, q = (softmax(one.logits, axis=1) for one in (base, each))
    return {**by_measure, KL: float(kl_divergence(p, q).mean())}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
