"""Strata by mutual information: against scikit-learn pair by pair, on planted strata, and in pieces."""

import math

import pytest
import torch
from sklearn.metrics import mutual_info_score

from fedunlearn.select import distance
from fedunlearn.select.mutual_information import MutualInformation, choose, clusters, information, levels, strata


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def patterns(each=(20, 12, 4), d=24, seed=0):
    """Samples that follow one of three patterns of levels, each with a few values of its own: levels [n, d]."""
    drawn = stream(seed)
    kinds = torch.randint(0, 4, (len(each), d), generator=drawn)
    values = torch.cat([kind.repeat(count, 1) for kind, count in zip(kinds, each, strict=True)])
    other = torch.randint(0, 4, values.shape, generator=drawn)
    return torch.where(torch.rand(values.shape, generator=drawn) < 0.15, other, values)


def test_information_is_that_of_scikit_learn():
    x, y = torch.randint(0, 4, (6, 9), generator=stream(1)), torch.randint(0, 4, (5, 9), generator=stream(2))
    found = information(x, y, 4)
    for i in range(6):
        for j in range(5):
            assert float(found[i, j]) == pytest.approx(mutual_info_score(x[i].numpy(), y[j].numpy()), abs=1e-12)
    assert float(information(x, x, 4).max()) <= math.log(4) + 1e-12


def test_levels_are_equally_frequent():
    points = torch.randn(40, 3, generator=stream(), dtype=torch.float64).exp()
    found = levels(points, 4)
    assert found.shape == (40, 3)
    for feature in range(3):
        assert torch.bincount(found[:, feature]).tolist() == [10] * 4
        order = points[:, feature].argsort()
        assert found[order, feature].tolist() == sorted(found[:, feature].tolist())


def test_samples_of_a_pattern_make_a_stratum():
    found = strata(patterns(), MutualInformation(), stream())
    assert sorted(torch.bincount(found).tolist()) == [4, 12, 20]
    assert all(len(part.unique()) == 1 for part in found.split([20, 12, 4]))


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_those_that_are_not_clustered_join_their_like(monkeypatch, at_once):
    monkeypatch.setattr(distance, "AT_ONCE", at_once)
    found = strata(patterns(), MutualInformation(clustered=18), stream(4))
    assert all(len(part.unique()) == 1 for part in found.split([20, 12, 4]))
    assert len(found.unique()) == 3


def test_there_are_no_more_strata_than_samples():
    told = information(patterns()[:2], patterns()[:2], 4)
    assert sorted(clusters(told, 4, 3).tolist()) == [0, 1]


def test_every_stratum_gives_the_same_number_as_far_as_it_can(monkeypatch):
    from fedunlearn.select import mutual_information

    monkeypatch.setattr(mutual_information, "levels", lambda points, bins: points.long())
    kept = choose(patterns().double(), 18, MutualInformation(), stream())
    assert torch.bincount(torch.bucketize(kept, torch.tensor([20, 32]), right=True)).tolist() == [7, 7, 4]
