from __future__ import annotations

import torch
from torchvision.transforms.v2 import functional as theirs

from fedunlearn.augment.blur import Blur, change, kernel


def test_inside_it_is_what_torchvision_does_with_the_same_width():
    images = torch.rand(2, 3, 16, 17, generator=torch.Generator().manual_seed(0))
    found = change(images, torch.tensor([[0.1, 0.5], [0.1, 0.9]]), Blur(strength=1.2))
    for image, mine, width in zip(images, found, (0.6, 1.08), strict=True):
        expected = theirs.gaussian_blur(image, [9, 9], [width, width])
        torch.testing.assert_close(mine[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4], atol=1e-5, rtol=1e-5)


def test_what_is_even_stays_even_up_to_the_edges_and_what_is_sharp_stays_sharp():
    even, drawn = torch.full((1, 1, 3, 5), 0.3), torch.tensor([[0.1, 0.99]])
    torch.testing.assert_close(change(even, drawn, Blur(strength=10)), even)
    image = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    for sharp in ([0.9, 0.5], [0.1, 0.0]):  # left out by its probability, or of width 0
        torch.testing.assert_close(change(image, torch.tensor([sharp]), Blur()), image)


def test_weights_add_up_to_one_and_are_the_same_both_ways():
    weights = kernel(torch.tensor([0.0, 0.5, 3.0]), 4)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert torch.equal(weights, weights.flip(1))
    torch.testing.assert_close(weights[1, 5] / weights[1, 4], torch.tensor(-2.0).exp())
