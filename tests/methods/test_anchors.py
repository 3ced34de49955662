"""Where there are no logits: individuals' anchors, and probabilities from the distances to them."""

from __future__ import annotations

import torch

from fedunlearn.methods.transformation import ANCHORED, ANCHORS, SOFTNESS, anchors_of, nearness

CPU = torch.device("cpu")
TOTALS = {"sums": torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0]]), "counts": torch.tensor([2.0, 0.0, 3.0])}


def test_anchors_are_means_and_there_is_none_of_whom_nobody_holds() -> None:
    found = anchors_of(TOTALS, CPU)
    assert found[ANCHORS].tolist() == [[1, 0], [0, 0], [0, 1]]
    assert found[ANCHORED].tolist() == [1, 0, 1]


def test_who_is_nearer_is_more_probable_and_who_has_no_anchor_is_impossible() -> None:
    logits = nearness(torch.tensor([[1.0, 0.0], [0.6, 0.2]]), anchors_of(TOTALS, CPU))
    torch.testing.assert_close(logits[0], torch.tensor([0.0, -torch.inf, -2 / SOFTNESS]))
    torch.testing.assert_close(logits[1], torch.tensor([-0.2 / SOFTNESS, -torch.inf, -1.0 / SOFTNESS]))
    shares = logits.softmax(1)
    assert shares[:, 1].tolist() == [0, 0] and (shares.argmax(1) == 0).all()
