"""Support points: the published step, its promise, and what becomes of them among real samples."""

from itertools import pairwise

import pytest
import torch

from fedunlearn.select import distance, support_points
from fedunlearn.select.distance import energy_distance
from fedunlearn.select.support_points import SupportPoints, choose, snapped, started, step, support


def cloud(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp()


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def published(x, y):
    """Equation 22 of Mak and Joseph, term by term."""
    n, big = len(x), len(y)
    moved = []
    for i in range(n):
        apart = sum((x[i] - x[j]) / (x[i] - x[j]).norm() for j in range(n) if j != i)
        weights = [1 / (x[i] - sample).norm() for sample in y]
        pull = sum(weight * sample for weight, sample in zip(weights, y, strict=True))
        moved.append((pull + big / n * apart) / sum(weights))
    return torch.stack(moved)


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_a_step_is_the_published_one_within_the_range_of_the_samples(monkeypatch, at_once):
    monkeypatch.setattr(distance, "AT_ONCE", at_once)
    y = cloud(40, 3)
    x = started(y, 6, stream())
    torch.testing.assert_close(step(x, y, 0.0), published(x, y).clamp(y.amin(0), y.amax(0)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["apart", "alike in pairs", "whole numbers"])
def test_no_step_increases_the_distance(seed, kind):
    y = cloud(60, 2 + seed, seed)
    if kind == "alike in pairs":
        y = torch.cat([y, y])
    if kind == "whole numbers":
        y = y.round()
    x = y[:10].clone() if seed == 0 else started(y, 10, stream(seed))  # points that lie on samples as well
    epsilon, values = 1e-6, []
    for _ in range(25):
        values.append(energy_distance(x, y))
        x = step(x, y, epsilon)
    assert all(later <= earlier + 4 * epsilon for earlier, later in pairwise(values))
    assert seed == 0 or values[-1] < values[0] - 1e-4  # a point that lies on a sample hardly leaves it


def test_a_single_support_point_is_the_median():
    y = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0], dtype=torch.float64)[:, None]
    assert float(support(y, 1, 2000, stream())) == pytest.approx(2.0, abs=0.01)


def test_it_ends_where_points_rest(monkeypatch):
    steps = []
    true = support_points.step
    monkeypatch.setattr(support_points, "step", lambda *given: steps.append(1) or true(*given))
    y = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    support(y, 2, 10_000, stream())
    assert 1 < len(steps) < 10_000


def test_every_point_takes_the_nearest_free_sample():
    y = torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64)
    x = torch.tensor([[0.4], [0.3], [0.2]], dtype=torch.float64)
    assert snapped(x, y).tolist() == [0, 1, 2]


def test_in_few_dimensions_they_represent_better_than_a_random_subset():
    for seed in range(5):
        y = cloud(120, 2, seed)
        free = support(y, 12, 50, stream(seed))
        kept, drawn = y[choose(y, 12, SupportPoints(iterations=50), stream(seed))], started(y, 12, stream(seed))
        assert max(energy_distance(free, y), energy_distance(kept, y)) < energy_distance(drawn, y)
