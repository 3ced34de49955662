from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedunlearn.augment.erasing import Erasing, change, covered


def test_a_stretch_by_hand():
    found = covered(torch.tensor([2.2, 9.0, 0.1, 2.0]), torch.tensor([0.5, 0.7, 0.99999997, 0.0]), 4)
    assert found.tolist() == [
        [False, True, True, False],
        [True, True, True, True],
        [False, False, False, True],
        [True, True, False, False],
    ]


@settings(max_examples=60)
@given(st.lists(st.floats(0, 0.9990234375, width=32), min_size=4, max_size=4), st.floats(0.02, 1), st.integers(4, 24))
def test_a_rectangle_of_the_wanted_size_gets_the_mean_colour(drawn, strength, size):
    image = torch.rand(1, 3, size, size + 3, generator=torch.Generator().manual_seed(0))
    found = change(image, torch.tensor([[0.1, *drawn]]), Erasing(strength=strength, probability=0.5))
    lost = (found != image).any(1)[0]
    rows, columns = lost.any(1), lost.any(0)
    assert torch.equal(lost, rows[:, None] & columns[None, :]), "a rectangle"
    torch.testing.assert_close(found[0][:, lost], image.mean((2, 3))[0][:, None].expand(3, int(lost.sum())))
    high, wide = int(rows.sum()), int(columns.sum())
    assert (high - 0.5) * (wide - 0.5) <= max(0.25, strength * size * (size + 3)) + 1e-3, "rounded to whole pixels"


def test_by_its_probability_an_image_stays_whole():
    images = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    numbers = torch.rand(8, 5, generator=torch.Generator().manual_seed(1))
    whole = (change(images, numbers, Erasing(probability=0.5)) == images).all(3).all(2)[:, 0]
    assert whole.tolist() == (numbers[:, 0] >= 0.5).tolist()
