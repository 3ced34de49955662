"""Greedy energy, herding and the distances that they are made of, against brute force."""

import pytest
import torch

from fedunlearn.select import distance, energy, herding
from fedunlearn.select.base import InSpace, sampled
from fedunlearn.select.distance import distances, energy_distance, mean_distances


def cloud(n, d, seed=0):
    """A skewed cloud of points."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp()


def brute(x, y):
    """The energy distance, pair by pair."""
    mean = lambda a, b: sum(float((p - q).norm()) for p in a for q in b) / (len(a) * len(b))  # noqa: E731
    return 2 * mean(x, y) - mean(x, x) - mean(y, y)


def test_energy_distance_by_hand_and_by_brute_force():
    column = lambda *values: torch.tensor(values, dtype=torch.float64)[:, None]  # noqa: E731
    assert energy_distance(column(0.0), column(0.0, 1.0)) == pytest.approx(2 * 0.5 - 0 - 0.5)
    assert energy_distance(column(0.0, 3.0), column(0.0, 3.0)) == 0
    x, y = cloud(7, 3), cloud(11, 3, 1)
    assert energy_distance(x, y) == pytest.approx(brute(x, y), rel=1e-12) and energy_distance(x, y) > 0


def test_energy_distance_is_that_of_dcor(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # it would compile for half a minute
    dcor = pytest.importorskip("dcor")
    x, y = cloud(20, 4), cloud(35, 4, 1)
    assert energy_distance(x, y) == pytest.approx(float(dcor.energy_distance(x.numpy(), y.numpy())), rel=1e-9)


@pytest.mark.parametrize("at_once", [1, 5, 23, 10**6])
def test_pieces_of_the_distances_make_the_same_means(monkeypatch, at_once):
    x, y = cloud(13, 2), cloud(5, 2, 1)
    whole = torch.stack([torch.stack([(p - q).norm() for q in y]).mean() for p in x])
    monkeypatch.setattr(distance, "AT_ONCE", at_once)
    asked = []
    monkeypatch.setattr(distance, "distances", lambda a, b: asked.append(len(a) * len(b)) or distances(a, b))
    torch.testing.assert_close(mean_distances(x, y), whole, rtol=1e-12, atol=0)
    assert max(asked) <= max(at_once, len(y))


@pytest.mark.parametrize(
    ("member", "lost"),
    [
        (energy, energy_distance),
        (herding, lambda kept, points: float((kept.mean(0) - points.mean(0)).norm())),
    ],
)
def test_every_sample_is_the_best_that_could_follow(member, lost):
    points = cloud(25, 3)
    kept = member.choose(points, 9, InSpace(), torch.Generator()).tolist()
    for number in range(9):
        rest = [k for k in range(25) if k not in kept[:number]]
        values = {k: lost(points[[*kept[:number], k]], points) for k in rest}
        assert values[kept[number]] == pytest.approx(min(values.values()), rel=1e-9)


@pytest.mark.parametrize("d", [2, 8, 32])
def test_greedy_energy_is_never_farther_than_a_random_subset(d):
    for seed in range(15):
        points = cloud(120, d, seed)
        greedy = energy.choose(points, 12, InSpace(), torch.Generator())
        drawn = sampled(12, 120, torch.Generator().manual_seed(seed))
        assert energy_distance(points[greedy], points) < energy_distance(points[drawn], points)
