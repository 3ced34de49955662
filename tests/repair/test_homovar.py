"""HomoVar: weights by hand and against Levene's test, federated sums, and what must not divide by zero."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f_oneway

from fedunlearn.repair import homovar

CLASSES, WIDTH = 4, 3


def data(seed, sizes, scales=(1.0,) * CLASSES):
    """Features and labels of classes of these sizes and scales."""
    stream = np.random.default_rng(seed)
    features = [stream.normal(size=(size, WIDTH)) * scale for size, scale in zip(sizes, scales, strict=True)]
    return torch.from_numpy(np.concatenate(features)), torch.from_numpy(np.repeat(np.arange(CLASSES), sizes))


def sums_of(features, targets):
    """Both passes over pooled data."""
    first = homovar.first_sums(features, targets, CLASSES)
    return first, homovar.second_sums(features, targets, homovar.means(first))


def limits_of(first, second, alpha=0.05):
    return homovar.bounds(first["counts"], second["spread"], second["squares"], alpha)


def passes(counts, spread, squares, alpha, size, place):
    """Levene's test, written down again, with class `place` at `size` samples and the same S_i."""
    from scipy.stats import f

    sizes, k = counts.clone(), len(counts)
    own = spread / sizes
    mean = own.mean()
    within = (squares - spread**2 / sizes).sum() / (counts.sum() - k)
    budget = f.ppf(1 - alpha, k - 1, int(counts.sum()) - k) * (k - 1) * within
    terms = sizes * (own - mean) ** 2
    terms[place] = size * (spread[place] / size - mean) ** 2
    return bool(terms.sum() <= budget)


def test_class_balanced_weights_by_hand():
    counts = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    found = homovar.class_weights(counts, torch.full_like(counts, 0.5))
    raw = [1.0, (1 - 0.5) / (1 - 0.25)]  # 1 and 2/3, scaled to sum to 2
    assert found.tolist() == pytest.approx([2 * raw[0] / sum(raw), 1, 2 * raw[1] / sum(raw)])


def test_the_sums_of_clients_are_those_of_pooled_data():
    features, targets = data(0, (9, 4, 20, 7))
    whole, spread = sums_of(features, targets)
    client = torch.from_numpy(np.random.default_rng(1).integers(0, 3, len(targets)))
    parts = [homovar.first_sums(features[client == k], targets[client == k], CLASSES) for k in range(3)]
    first = {name: sum(part[name] for part in parts) for name in parts[0]}
    mean = homovar.means(first)
    parts = [homovar.second_sums(features[client == k], targets[client == k], mean) for k in range(3)]
    second = {name: sum(part[name] for part in parts) for name in parts[0]}
    for name in first:
        torch.testing.assert_close(first[name], whole[name])
    for name in second:
        torch.testing.assert_close(second[name], spread[name])


def test_classes_of_one_scale_are_inside_and_get_class_balanced_weights():
    features, targets = data(0, (60, 40, 50, 30))
    first, second = sums_of(features, targets)
    limits = limits_of(first, second)
    assert ((limits.lower <= first["counts"]) & (first["counts"] <= limits.upper)).all()
    betas = homovar.homovar_betas(first["counts"], limits, 0.999)
    assert torch.equal(betas, torch.full_like(betas, 0.999))


@pytest.mark.parametrize("scale", [0.4, 0.9, 1.0, 1.3, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_bounds_are_where_levenes_test_turns(seed, scale):
    sizes = np.random.default_rng(seed).integers(2, 40, CLASSES)
    features, targets = data(seed, sizes, (1.0, 1.0, scale, 1.0))
    first, second = sums_of(features, targets)
    found = limits_of(first, second)
    told = first["counts"], second["spread"], second["squares"], 0.05
    for place in range(CLASSES):
        low, high = float(found.lower[place]), float(found.upper[place])
        if np.isnan(low) or high <= 0:  # no roots, or none that is a size
            assert not any(passes(*told, size, place) for size in (1, 2, 5, 20, 100, 1000))
        elif high - low > 1e-3:
            assert passes(*told, (max(low, 0.0) + high) / 2, place)
            assert not passes(*told, high * 1.001 + 1e-3, place)
            assert low <= 1e-3 or not passes(*told, low * 0.999 - 1e-4, place)


def test_the_whole_test_agrees_with_scipy():
    """All classes inside at their own sizes is Levene's test of z, which is an analysis of variance up to how the
    grand mean is taken: the same for classes of one size."""
    features, targets = data(3, (25,) * CLASSES)
    first, second = sums_of(features, targets)
    z = (features - homovar.means(first)[targets]).abs().sum(1)
    p = f_oneway(*(z[targets == c].numpy() for c in range(CLASSES))).pvalue
    for alpha in (0.999 * p, 1.001 * p):
        limits = limits_of(first, second, alpha)
        inside = (limits.lower <= first["counts"]) & (first["counts"] <= limits.upper)
        assert inside.all() == (alpha < p)


def test_a_class_outside_gets_another_beta():
    counts = torch.tensor([10.0, 10.0, 10.0, 10.0], dtype=torch.float64)
    nan = float("nan")
    limits = homovar.Bounds(torch.tensor([1.0, 14.0, 1.0, nan]).double(), torch.tensor([20.0, 20.0, 8.0, nan]).double())
    betas = homovar.homovar_betas(counts, limits, 0.9)
    assert betas.tolist() == pytest.approx([0.9, 0.9 ** (1 / 4), 0.9 ** (1 / 2), 0.9])


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([0, 0, 1, 2, 5, 60]), min_size=CLASSES, max_size=CLASSES),
    st.floats(0, 30),
    st.booleans(),
    st.sampled_from([0.0, 0.5, 0.999, 0.9999999]),
)
def test_weights_are_finite_whatever_the_classes(sizes, scale, flat, beta):
    features, targets = data(0, sizes, (0.0 if flat else 1.0, scale, 1.0, 0.0))
    first, second = sums_of(features, targets)
    betas = homovar.homovar_betas(first["counts"], limits_of(first, second), beta)
    found = homovar.class_weights(first["counts"], betas)
    there = first["counts"] > 0
    assert found.isfinite().all() and (found > 0).all()
    assert float(found[there].sum()) == pytest.approx(int(there.sum()))


def test_a_class_without_data_is_no_class():
    features, targets = data(5, (30, 0, 20, 10), (1, 1, 2, 1))
    first, second = sums_of(features, targets)
    kept = first["counts"] > 0
    less = homovar.bounds(first["counts"][kept], second["spread"][kept], second["squares"][kept], 0.05)
    whole = limits_of(first, second)
    torch.testing.assert_close(whole.lower[kept], less.lower, equal_nan=True)
    torch.testing.assert_close(whole.upper[kept], less.upper, equal_nan=True)
    assert whole.lower[~kept].isnan().all()
