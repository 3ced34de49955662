from __future__ import annotations

import pytest
import torch

from fedunlearn.augment.mixup import Mixup, beta, mix


def test_by_hand():
    images, others = torch.full((2, 1, 1, 2), 1.0), torch.full((2, 1, 1, 2), 0.2)
    found, share = mix(images, others, torch.full((2, 1), 0.25), Mixup())
    torch.testing.assert_close(found, torch.full((2, 1, 1, 2), 0.4))
    assert share.tolist() == [0.25, 0.25]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_have_the_spread_of_the_beta_distribution(alpha):
    stream = torch.Generator().manual_seed(0)
    drawn = torch.cat([beta(alpha, stream) for _ in range(2000)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.04)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
