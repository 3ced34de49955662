"""How many samples are kept, and in which space they lie."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from fedunlearn.select.base import Budget, InSpace, Selector, allotted, evenly, reduced, sampled
from fedunlearn.settings import registry

OURS = registry.ours("selector")
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def test_a_share_of_every_class_and_one_at_least():
    sizes = [1, 4, 10, 26, 100]
    assert allotted(sizes, Budget()) == [1, 1, 1, 3, 10]
    assert allotted(sizes, Budget(share=0.5)) == [1, 2, 5, 13, 50]
    assert allotted(sizes, Budget(share=1.0)) == sizes
    assert allotted([], Budget(to="minority")) == []


def test_to_the_minority_and_a_share_of_that():
    assert allotted([7, 30, 12], Budget(to="minority")) == [7, 7, 7]
    assert allotted([7, 30, 12], Budget(to="minority", share=0.3)) == [2, 2, 2]


def test_dealt_evenly_by_hand():
    assert evenly([5, 5, 5], 7) == [3, 2, 2]
    assert evenly([1, 9, 3], 9) == [1, 5, 3]
    assert evenly([2, 3], 99) == [2, 3]
    assert evenly([], 4) == []


@given(SIZES, st.integers(0, 300))
def test_dealt_evenly(sizes, total):
    given_out = evenly(sizes, total)
    assert sum(given_out) == min(total, sum(sizes))
    assert all(0 <= got <= size for got, size in zip(given_out, sizes, strict=True))
    with_more = [got for got, size in zip(given_out, sizes, strict=True) if got < size]
    assert not with_more or max(given_out) - min(with_more) <= 1


@given(SIZES, st.floats(0.01, 1))
def test_class_balanced_keeps_as_many_as_the_share_but_evenly(sizes, share):
    balanced, budget = registry.find(Selector, "class_balanced"), Budget(share=share)
    counts = balanced.allot(sizes, budget)
    assert counts == evenly(sizes, sum(allotted(sizes, budget)))
    assert all(counts)


@pytest.mark.parametrize("selector", OURS, ids=lambda selector: selector.name)
@pytest.mark.parametrize(("n", "count"), [(2, 1), (12, 1), (12, 5), (12, 11)])
@pytest.mark.parametrize("kind", ["apart", "alike", "some alike"])
def test_every_selector_keeps_as_many_as_asked_for_each_once(selector, n, count, kind):
    stream = torch.Generator().manual_seed(n)
    points = torch.randn(n, 3, generator=stream, dtype=torch.float64)
    if kind != "apart":
        points[: n if kind == "alike" else n // 2] = 1.0
    seen = points if selector.looks else points[:, :0]
    first, again = (
        selector.choose(seen.clone(), count, selector.settings(), torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert first.dtype == torch.int64 and first.shape == (count,)
    assert len(set(first.tolist())) == count and set(first.tolist()) <= set(range(n))
    assert torch.equal(first, again)


@pytest.mark.parametrize("selector", OURS, ids=lambda selector: selector.name)
def test_settings_say_what_a_selector_needs(selector):
    if selector.name != "all":
        assert isinstance(selector.settings(), InSpace if selector.looks else Budget)


def test_all_keeps_all():
    everything = registry.find(Selector, "all")
    assert everything.allot([3, 1], everything.settings()) == [3, 1]


def test_a_random_sample_is_one_of_all():
    seen = {tuple(sorted(sampled(2, 4, torch.Generator().manual_seed(seed)).tolist())) for seed in range(60)}
    assert len(seen) == 6


def test_principal_components():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 6)) * [9, 7, 5, 3, 2, 1]).float()
    points = reduced(features, 3)
    expected = PCA(3).fit_transform(features.double().numpy())
    assert points.dtype == torch.float64 and points.shape == (30, 3)
    np.testing.assert_allclose(points.abs().numpy(), np.abs(expected), atol=1e-9)
    whole = reduced(features, 99)
    assert whole.shape == (30, 6)
    torch.testing.assert_close(
        torch.cdist(whole, whole), torch.cdist(features.double(), features.double()), atol=1e-6, rtol=0
    )
    assert reduced(features[:1], 3).tolist() == [[0, 0, 0]]


def test_components_point_the_same_way_whatever_the_decomposition_says(monkeypatch):
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    before, true = reduced(features, 2), torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (true(matrix)[0], -true(matrix)[1]))
    torch.testing.assert_close(reduced(features, 2), before)
