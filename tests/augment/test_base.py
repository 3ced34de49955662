"""What holds for every augmentation: numbers of the stream alone, images one by one, bits that repeat."""

from __future__ import annotations

import pytest
import torch

from fedunlearn.augment.base import Augmentation
from fedunlearn.settings import registry

ALL = [registry.find(Augmentation, name) for name in registry.built_in("augmentation")]
CHANGING = [each for each in ALL if each.change]
MIXING = [each for each in ALL if each.mix]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, 7, 10, generator=stream(9))


def test_there_are_eight_and_each_but_none_does_one_thing():
    assert {each.name for each in ALL} == {
        *("none", "flip_crop", "rotation", "colour", "erasing", "blur", "mixup", "cutmix")
    }
    assert [each.name for each in ALL if bool(each.change) + bool(each.mix) != 1] == ["none"]
    assert all(hasattr(each.settings(), "strength") for each in (*CHANGING, *MIXING))


@pytest.mark.parametrize("one", [*CHANGING, *MIXING], ids=lambda one: one.name)
def test_numbers_come_from_the_stream_and_from_nothing_else(one):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (one.draw(one.settings(), 5, stream(seed)) for seed in (3, 3, 4))
    assert first.dtype == torch.float32 and first.device.type == "cpu" and len(first) == 5
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert one.mix is None or (first == first[0]).all(), "what mixes is the same for a batch"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("one", CHANGING, ids=lambda one: one.name)
def test_every_image_is_changed_by_its_own_numbers_alone(one, channels):
    images, settings = pictures(channels=channels), one.settings()
    before = images.clone()
    numbers = one.draw(settings, len(images), stream())
    together = one.change(images, numbers, settings)
    assert torch.equal(images, before), "the images that it is given are not written into"
    assert together.shape == images.shape and not torch.equal(together, images)
    for i in range(len(images)):
        torch.testing.assert_close(together[i : i + 1], one.change(images[i : i + 1], numbers[i : i + 1], settings))


@pytest.mark.parametrize("one", MIXING, ids=lambda one: one.name)
def test_mixtures_lie_between_their_two_images(one):
    images, settings = pictures(), one.settings()
    others = images.roll(1, 0)
    mixed, share = one.mix(images, others, one.draw(settings, len(images), stream(5)), settings)
    assert (share == share[0]).all() and 0 < share[0] < 1
    assert (mixed >= torch.minimum(images, others) - 1e-6).all()
    assert (mixed <= torch.maximum(images, others) + 1e-6).all()


@pytest.mark.parametrize("one", CHANGING, ids=lambda one: one.name)
def test_more_strength_changes_more(one):
    images, mild = pictures(), one.settings(strength=0.05)
    numbers = one.draw(mild, len(images), stream())
    moved = [(one.change(images, numbers, each) - images).abs().mean() for each in (mild, one.settings(strength=0.5))]
    assert moved[0] <= moved[1]
