from __future__ import annotations

import torch
from torchvision.transforms.v2 import functional as theirs

from fedunlearn.augment.colour import Colour, change


def test_it_is_what_torchvision_does_with_the_same_factors():
    images = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    numbers = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    found = change(images, numbers, Colour(strength=0.8))
    for image, own, mine in zip(images, numbers, found, strict=True):
        brightness, contrast, saturation = (0.2 + 1.6 * own).tolist()
        expected = theirs.adjust_contrast(theirs.adjust_brightness(image, brightness), contrast)
        torch.testing.assert_close(mine, theirs.adjust_saturation(expected, saturation), atol=1e-5, rtol=1e-5)


def test_grey_images_have_no_saturation():
    images = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    calm, loud = (change(images, torch.tensor([[0.5, 0.5, last]] * 2), Colour()) for last in (0.0, 0.9))
    torch.testing.assert_close(calm, images)
    torch.testing.assert_close(calm, loud)
