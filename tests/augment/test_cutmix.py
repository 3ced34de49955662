from __future__ import annotations

import torch

from fedunlearn.augment.cutmix import CutMix, covered, mix


def test_by_hand():
    sides, centres = torch.tensor([0.5, 0.5, 0.5, 0.0, 1.0]), torch.tensor([0.5, 0.0, 0.99, 0.5, 0.5])
    assert covered(sides, centres, 4).int().tolist() == [
        [0, 1, 1, 0],
        [1, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 0, 0],
        [1, 1, 1, 1],
    ]


def test_the_share_is_that_of_the_pixels_that_are_left():
    own, others = torch.zeros(2, 3, 8, 12), torch.ones(2, 3, 8, 12)
    for drawn in ([0.3, 0.5, 0.5], [0.75, 0.0, 0.9], [1.0, 0.5, 0.5], [0.0, 0.5, 0.5]):
        found, share = mix(own, others, torch.tensor([drawn, drawn]), CutMix())
        torch.testing.assert_close(1 - found.mean((1, 2, 3)), share)
    assert share[0] == 0
