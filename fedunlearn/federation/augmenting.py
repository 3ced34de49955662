"""Batches of augmented images: one place for the reference loop and for stacks.

Images are changed as bytes, before they are normalised, and are bytes again afterwards, as a dataset's `prepare`
expects them. Only what clients train on is changed; what they are asked (votes, first prototypes), what is tested and
what is audited are images as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fedunlearn.augment.base import Augmentation
from fedunlearn.data.types import Inputs
from fedunlearn.federation.objective import Objective, RoundContext
from fedunlearn.federation.spec import Plugin
from fedunlearn.settings import registry
from fedunlearn.settings.schema import parse
from fedunlearn.tasks.base import Batch

IMAGES = "images"  # the input that is augmented, uint8 [n, C, H, W]
WHITE = 255
BESIDE = "beside/"  # prefix of what is known beside the second samples of mixtures
NOTHING: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Drawn:
    """What was drawn for the images of a batch: `numbers` [b, k], and the number of the image that each is mixed with.

    That is a permutation of 0..b-1, or as they are where nothing is mixed.
    """

    numbers: Tensor
    partners: Tensor


@dataclass(frozen=True)
class Augmenter:
    """An augmentation at work for a client in a round, whose numbers come from `stream`."""

    member: Augmentation
    settings: Any
    stream: torch.Generator

    @staticmethod
    def of(asked: Plugin, stream: torch.Generator) -> Augmenter:
        """From what the stage says."""
        member = registry.find(Augmentation, asked.name)
        return Augmenter(member, parse(member.settings, asked.settings, "augment"), stream)

    def drawn(self, count: int) -> Drawn:
        """For the next batch, on the CPU."""
        numbers = self.member.draw(self.settings, count, self.stream)
        mixes = self.member.mix is not None
        return Drawn(numbers, torch.randperm(count, generator=self.stream) if mixes else torch.arange(count))

    def __call__(self, raw: Inputs, drawn: Drawn) -> tuple[Inputs, Tensor | None]:
        """A split's inputs, changed, and the share of their own that is left to them, [n], where they are mixed."""
        pixels, share = raw[IMAGES], None
        images, numbers = pixels.float() / WHITE, drawn.numbers.to(pixels.device)
        if self.member.change is not None:
            images = self.member.change(images, numbers, self.settings)
        if self.member.mix is not None:
            others = images[drawn.partners.to(pixels.device)]
            images, share = self.member.mix(images, others, numbers, self.settings)
        return {**raw, IMAGES: (images * WHITE).round().clamp(0, WHITE).to(torch.uint8)}, share


def mixed_with(
    drawn: Drawn, share: Tensor | None, targets: Tensor, weights: Tensor, beside: Mapping[str, Tensor] = NOTHING
) -> dict[str, Tensor]:
    """`Batch.mixed` of a batch with these targets and weights [b, …], or of all batches of a stack, [k, b, …]."""
    if share is None:
        return {}
    partners = drawn.partners.to(targets.device)

    def of_partners(values: Tensor) -> Tensor:
        return values.flatten(0, weights.dim() - 1)[partners].view_as(values)

    known = {BESIDE + name: of_partners(values) for name, values in beside.items()}
    own = {"targets": of_partners(targets), "weights": of_partners(weights), "share": share.view_as(weights)[..., 0]}
    return {**own, **known}


def joined(drawn: Sequence[Drawn]) -> Drawn:
    """Of the batches of a stack, each filled up to the longest; what fills up is mixed with itself."""
    longest = max(len(each.partners) for each in drawn)
    partners = torch.arange(longest * len(drawn)).view(len(drawn), longest)
    for row, each in zip(partners, drawn, strict=True):
        row[: len(each.partners)] = row[0] + each.partners
    numbers = pad_sequence([each.numbers for each in drawn], batch_first=True)
    return Drawn(numbers.flatten(0, 1), partners.flatten())


def of_mixtures(own: Objective) -> Objective:
    """The same objective on mixed samples: the mean of its losses for the targets of either, by their shares."""

    def loss(outputs: Any, batch: Batch, context: RoundContext) -> Tensor:
        first = own.loss(outputs, batch, context)
        if not batch.mixed:
            return first
        beside = {name: batch.mixed[BESIDE + name] for name in batch.beside}
        other = replace(batch, targets=batch.mixed["targets"], weights=batch.mixed["weights"], beside=beside)
        share = batch.mixed["share"]
        return share * first + (1 - share) * own.loss(outputs, other, context)

    return replace(own, loss=loss)
