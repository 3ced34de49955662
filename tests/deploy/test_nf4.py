"""nf4: its levels are what the paper's formula gives, and blocks share a scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fedunlearn.deploy.base import Format, rounded
from fedunlearn.deploy.nf4 import LEVELS
from fedunlearn.settings import registry

NF4 = registry.find(Format, "nf4")


def test_the_levels_are_quantiles_of_a_normal_distribution() -> None:
    # create_normal_map of bitsandbytes: from the quantile 1 - (1/30 + 1/32) / 2 on, eight steps down to the median for
    # positive levels and seven for negative ones.
    outermost = 1 - (1 / 30 + 1 / 32) / 2
    positive = norm.ppf(np.linspace(outermost, 0.5, 9)[:-1])
    negative = -norm.ppf(np.linspace(outermost, 0.5, 8)[:-1])
    levels = np.sort(np.concatenate([negative, [0.0], positive]))
    assert np.array(LEVELS) == pytest.approx(levels / levels.max(), abs=1e-6)
    assert len(LEVELS) == 16


def test_a_block_by_hand() -> None:
    found = rounded(torch.tensor([[2.0, 0.0, -2.0, 0.9, 0.18]]), NF4)
    assert found.codes.tolist() == [[15, 7, 0, 12, 8]]
    assert found.values[0].tolist() == pytest.approx([2.0, 0.0, -2.0, 2 * 0.44070983, 2 * 0.07958030])
    lower, upper = (0.33791524 + 0.44070983) / 2, (0.44070983 + 0.56261700) / 2
    assert found.half_steps[0, 3].item() == pytest.approx(2 * (upper - lower) / 2, rel=1e-6)


def test_blocks_are_of_64_unless_the_run_says_otherwise() -> None:
    given = torch.ones(1, 65)
    given[0, 64] = 0.01
    assert rounded(given, NF4).values[0, 64].item() == pytest.approx(0.01)
    assert rounded(given, NF4, group_size=65).values[0, 64].item() == 0.0
