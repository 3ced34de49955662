from __future__ import annotations

import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as theirs

from fedunlearn.augment.rotation import Rotation, change

IMAGES = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def test_quarter_turns_move_pixels_and_none_leaves_them():
    turned = change(IMAGES, torch.tensor([[0.0], [0.5], [1.0]]), Rotation(strength=90))
    torch.testing.assert_close(turned[1], IMAGES[1])
    there = [torch.allclose(turned[0], torch.rot90(IMAGES[0], k, (1, 2)), atol=1e-5) for k in (1, 3)]
    back = [torch.allclose(turned[2], torch.rot90(IMAGES[2], k, (1, 2)), atol=1e-5) for k in (3, 1)]
    assert there == back and sum(there) == 1


def test_it_turns_as_torchvision_does_also_what_is_no_square():
    image = torch.rand(1, 3, 9, 14, generator=torch.Generator().manual_seed(1))
    mine = change(image, torch.tensor([[0.9]]), Rotation(strength=50))  # 40 degrees
    expected = [theirs.rotate(image, angle, InterpolationMode.BILINEAR) for angle in (40.0, -40.0)]
    assert sum(torch.allclose(mine, each, atol=1e-3) for each in expected) == 1
