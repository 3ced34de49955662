"""Maps against the paper's formula by hand, and every measure against values worked out by hand or by scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from fedunlearn.audits.grad_cam import (
    MEASURES,
    activations,
    is_flat,
    kl_divergence,
    maps,
    scaled,
    top,
)
from fedunlearn.models.base import Network


def drawn(seed: int, n: int = 3, side: int = 6) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(seed).normal(size=(n, side, side))
    return found


def small_model(seed: int = 0) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 8 * 8, 5), nn.Tanh()
        return Network(nn.Sequential(*layers), nn.Linear(5, 3)).eval()


def test_maps_are_the_mean_gradients_times_the_layer_added_up() -> None:
    """α_k by finite differences: every place of channel k a little higher raises the logit by h·w·α_k times that."""
    model, images = small_model().double(), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    targets = torch.tensor([2, 0])
    layer = activations(model, images, "encoder.1")
    after: Any = nn.Sequential(*list(model.encoder)[2:], model.head)
    step, expected = 1e-6, torch.zeros(2, 8, 8, dtype=torch.float64)
    for k in range(4):
        moved = layer.clone()
        moved[:, k] += step
        rise = (after(moved) - after(layer)).gather(1, targets[:, None])[:, 0] / step / 64
        expected += rise[:, None, None] * layer[:, k]
    found = maps(model, images, targets, "encoder.1")
    assert found == pytest.approx(expected.detach().numpy(), abs=1e-6)
    assert (found < 0).any() and (found > 0).any(), "the sign is kept"


def test_each_image_has_its_own_map_whatever_comes_beside_it() -> None:
    model, images = small_model(), torch.randn(70, 1, 8, 8)
    targets = torch.arange(70) % 3
    together = maps(model, images, targets, "encoder.1")
    alone = maps(model, images[66:67], targets[66:67], "encoder.1")
    assert together.shape == (70, 8, 8) and together[66] == pytest.approx(alone[0], abs=1e-6)


def test_a_bias_of_the_head_has_no_part_in_maps_and_other_rows_have_none_in_a_class() -> None:
    model, images = small_model(), torch.randn(4, 1, 8, 8)
    before = [maps(model, images, torch.full((4,), c), "encoder.1") for c in range(3)]
    with torch.no_grad():
        model.head.bias[1] -= 1000
        model.head.weight[1] = 0
    after = [maps(model, images, torch.full((4,), c), "encoder.1") for c in range(3)]
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[2], after[2])
    assert is_flat(after[1]).all() and not is_flat(before[1]).any()


def test_frozen_weights_change_nothing() -> None:
    model, images, targets = small_model(), torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 2])
    before = maps(model, images, targets, "encoder.1")
    assert np.array_equal(before, maps(model.requires_grad_(False), images, targets, "encoder.1"))


A = np.array([[[4.0, 2.0], [0.0, -1.0]]])
B = np.array([[[1.0, 2.0], [-2.0, 0.0]]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("absolute_difference", (0.5 + 0.5 + 1 + 0.25) / 4),  # a/4 and b/2
        ("squared_difference", (0.25 + 0.25 + 1 + 0.0625) / 4),
        ("pearson", np.corrcoef(A.ravel(), B.ravel())[0, 1]),
        ("spearman", stats.spearmanr(A.ravel(), B.ravel()).statistic),
        ("overlap_25", 0.0),  # one place of each, and not the same
    ],
)
def test_by_hand(name: str, expected: float) -> None:
    assert MEASURES[name](A, B) == pytest.approx([expected])


def test_top_places_share_what_is_left_for_equal_ones() -> None:
    tied = np.array([[[3.0, 1.0], [1.0, 1.0]]])
    assert top(tied, 50).ravel().tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
    assert top(tied, 25).ravel().tolist() == [1, 0, 0, 0]
    assert top(tied, 10).ravel().tolist() == pytest.approx([0.4, 0, 0, 0]), "not even one whole place"


def test_overlap_of_sets_is_what_is_common_of_all() -> None:
    a = np.arange(16.0).reshape(1, 4, 4)
    b = a.copy()
    b[0, 3, 0], b[0, 0, 0] = 0, 12  # of the highest four, one is another place
    assert MEASURES["overlap_25"](a, b) == pytest.approx([3 / 5])


@given(st.integers(0, 10_000))
def test_with_itself_nothing_differs_and_all_agrees_and_order_does_not_matter(seed: int) -> None:
    a, b = drawn(seed), drawn(seed + 1)
    for name, measure in MEASURES.items():
        assert measure(a, a) == pytest.approx(0.0 if "difference" in name else 1.0)
        assert measure(a, b) == pytest.approx(measure(b, a))
        assert measure(a, 7 * b) == pytest.approx(measure(a, b)), "units of logits do not matter"


@given(st.integers(0, 10_000), st.sampled_from([5, 15, 25]))
def test_top_places_add_up_to_their_share_with_many_ties_too(seed: int, per_cent: int) -> None:
    found = top(np.round(drawn(seed)), per_cent)
    assert found.sum(axis=(1, 2)) == pytest.approx(36 * per_cent / 100)
    assert found.min() >= 0 and found.max() <= 1


@given(st.integers(0, 10_000))
def test_correlations_are_those_of_scipy_with_ties_too(seed: int) -> None:
    a, b = np.round(drawn(seed)), np.round(drawn(seed + 1))
    rows = list(zip(a.reshape(3, -1), b.reshape(3, -1), strict=True))
    assert MEASURES["pearson"](a, b) == pytest.approx([stats.pearsonr(x, y).statistic for x, y in rows])
    assert MEASURES["spearman"](a, b) == pytest.approx([stats.spearmanr(x, y).statistic for x, y in rows])


def test_flat_maps_are_known_and_have_neither_correlation_nor_overlap() -> None:
    flat = np.stack([np.zeros((6, 6)), np.full((6, 6), -0.3), np.full((6, 6), 0.1) + 1e-8 * drawn(0)[0]])
    assert is_flat(flat).all() and not is_flat(drawn(0)).any()
    assert not is_flat(1e-9 * drawn(0)).any(), "small is not flat"
    for name, measure in MEASURES.items():
        assert np.isnan(measure(flat, drawn(1))).all() == ("difference" not in name)
    assert scaled(flat)[:2].reshape(2, -1).tolist() == [[0.0] * 36, [-1.0] * 36]


def test_divergence_is_that_of_the_definition_and_finite_for_a_masked_class() -> None:
    p, q = np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[0.25, 0.75], [0.0, 1.0]])
    expected = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0.5 * np.log(0.5 / 1e-8) + 0.5 * np.log(0.5)]
    assert kl_divergence(p, q) == pytest.approx(expected)
    assert kl_divergence(p, p).tolist() == [0, 0]
