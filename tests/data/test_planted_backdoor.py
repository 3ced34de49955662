"""What is planted, where, and what it is refused for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedunlearn.data.backdoor import Backdoor, planted, stamped
from fedunlearn.data.types import Dataset, Normaliser, Request, Split, labelled_images
from fedunlearn.errors import RequestError


def images(samples: int) -> Split:
    stream = torch.Generator().manual_seed(0)
    return labelled_images(
        torch.randint(200, (samples, 2, 5, 6), generator=stream, dtype=torch.uint8), torch.arange(samples) % 3
    )


@pytest.fixture
def dataset() -> Dataset:
    return Dataset("noise", images(40), images(9), ("a", "b", "c"), Normaliser((0.5, 0.5), (0.2, 0.2)), "as it was")


FORGET = Request("client", np.arange(40) < 10, ())


def test_the_mark_is_a_white_square_in_the_corner() -> None:
    shown = images(4).inputs["images"]
    marked = stamped(shown, Backdoor(size=2))
    assert (marked[:, :, 3:, 4:] == 255).all()
    marked[:, :, 3:, 4:] = shown[:, :, 3:, 4:]
    assert torch.equal(marked, shown)
    assert not (shown == 255).any()  # a copy was marked


def test_only_the_forget_set_is_marked_and_relabelled(dataset: Dataset) -> None:
    before = dataset.train.inputs["images"].clone()
    made = planted(dataset, FORGET, Backdoor(target=2, size=2, share=1.0), seed=0)
    assert (made.train.targets[:10] == 2).all()
    assert (made.train.inputs["images"][:10, :, 3:, 4:] == 255).all()
    assert torch.equal(made.train.inputs["images"][10:], before[10:])
    assert torch.equal(made.train.targets[10:], dataset.train.targets[10:])
    assert made.test is dataset.test
    assert torch.equal(dataset.train.inputs["images"], before)


def test_a_share_is_drawn_by_seed(dataset: Dataset) -> None:
    made = [planted(dataset, FORGET, Backdoor(share=0.4), seed) for seed in (0, 0, 1)]
    marked = [(each.train.inputs["images"][:, 0, -1, -1] == 255).nonzero()[:, 0].tolist() for each in made]
    assert marked[0] == marked[1] != marked[2]
    assert len(marked[0]) == 4
    assert max(marked[0]) < 10


def test_other_data_have_another_fingerprint(dataset: Dataset) -> None:
    wanted = [Backdoor(), Backdoor(target=1), Backdoor(size=2), Backdoor(share=0.5)]
    found = {planted(dataset, FORGET, backdoor, 0).fingerprint for backdoor in wanted}
    assert len({*found, dataset.fingerprint}) == 5
    assert planted(dataset, FORGET, Backdoor(), 0).fingerprint in found


@pytest.mark.parametrize(
    ("backdoor", "level", "said"),
    [
        (Backdoor(target=3), "client", "there are 3, numbered 0 to 2"),
        (Backdoor(size=5), "client", "below the images' 5 pixels"),
        (Backdoor(), "class", "at class level"),
    ],
)
def test_what_does_not_fit_is_refused(dataset: Dataset, backdoor: Backdoor, level: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        planted(dataset, Request(level, FORGET.forget, ()), backdoor, 0)  # type: ignore[arg-type]
