from __future__ import annotations

import torch

from fedunlearn.augment.flip_crop import FlipCrop, change, shift

IMAGE = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])


def test_by_hand():
    one_pixel = FlipCrop(strength=0.4)  # of two rows and of three columns: one pixel either way
    numbers = torch.tensor([[0.5, 0.5, 0.9], [0.0, 0.5, 0.9], [0.5, 0.99, 0.9], [0.5, 0.5, 0.1], [0.99, 0.0, 0.1]])
    found = change(IMAGE.expand(5, 1, 2, 3), numbers, one_pixel)
    assert found.flatten(1).tolist() == [
        [1, 2, 3, 4, 5, 6],
        [0, 0, 0, 1, 2, 3],
        [2, 3, 0, 5, 6, 0],
        [3, 2, 1, 6, 5, 4],
        [0, 6, 5, 0, 0, 0],
    ]


def test_every_shift_is_as_likely():
    even = torch.arange(1000) / 1000
    assert torch.unique(shift(even, 0.25, 8), return_counts=True)[1].tolist() == [200] * 5
    assert shift(torch.tensor([0.99999997]), 0.25, 8).tolist() == [2]


def test_without_strength_and_flips_nothing_changes():
    numbers = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    images = IMAGE.expand(4, 1, 2, 3)
    assert torch.equal(change(images, numbers, FlipCrop(strength=0, flip=0)), images)
