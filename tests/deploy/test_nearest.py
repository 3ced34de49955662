"""The definition of intB: by hand, and what must hold for any weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fedunlearn.deploy.base import Format, converted, rounded, weights_of
from fedunlearn.settings import registry

INTS = [registry.find(Format, name) for name in ("int8", "int4", "int3")]
ALL = [*INTS, registry.find(Format, "nf4")]


def weights(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    """Normal weights, some of them 0, with a channel of zeros."""
    found = scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    found[torch.rand(shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.1] = 0.0
    found[-1] = 0.0
    return found


def test_a_channel_by_hand() -> None:
    # int3 has the codes -3 to 3: the step is 6 / 3 = 2. A weight halfway between two codes takes the even one.
    found = rounded(torch.tensor([[6.0, 1.0, 3.0, -3.1, -0.9, 5.1]]), registry.find(Format, "int3"))
    assert found.codes.tolist() == [[3, 0, 2, -2, 0, 3]]
    assert found.values.tolist() == [[6.0, 0.0, 4.0, -4.0, 0.0, 6.0]]
    assert found.half_steps.tolist() == [[1.0] * 6]


def test_every_channel_has_a_scale_of_its_own_and_zeros_stay() -> None:
    found = rounded(torch.tensor([[[[7.0, 3.6]]], [[[0.0, 0.0]]], [[[-0.07, 0.02]]]]), registry.find(Format, "int4"))
    assert found.codes.tolist() == [[[[7, 4]]], [[[0, 0]]], [[[-7, 2]]]]
    assert found.values.flatten().tolist() == pytest.approx([7.0, 4.0, 0.0, 0.0, -0.07, 0.02])
    assert found.half_steps.flatten().tolist() == pytest.approx([0.5, 0.5, 0.0, 0.0, 0.005, 0.005])


def test_groups_run_along_the_inputs_and_the_last_may_be_smaller() -> None:
    given, int3 = torch.tensor([[3.0, 1.0, 30.0, 10.0, 6.0]]), registry.find(Format, "int3")
    assert rounded(given, int3, group_size=2).codes.tolist() == [[3, 1, 3, 1, 3]]
    assert rounded(given, int3, group_size=2).values.tolist() == [[3.0, 1.0, 30.0, 10.0, 6.0]]
    assert rounded(given, int3).codes.tolist() == [[0, 0, 3, 1, 1]]
    assert torch.equal(rounded(given, int3, group_size=99).values, rounded(given, int3).values)


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([None, 1, 5, 64]), power=st.integers(-30, 30))
def test_what_holds_for_any_weights(format: Format, seed: int, size: int | None, power: int) -> None:
    given = weights(seed, 4, 3, 3, 3, scale=2.0**power)
    found = rounded(given, format, size)
    again = rounded(found.values, format, size)
    assert torch.equal(again.values, found.values) and torch.equal(again.codes, found.codes), "idempotent"
    if size is None and format in INTS:
        largest = given.flatten(1).abs().amax(1)
        assert torch.equal(found.values.flatten(1).abs().amax(1), largest), "the largest weight stays as it is"
    levels = 2**format.bits - (1 if format in INTS else 0)
    assert all(len(codes.unique()) <= levels for codes in found.codes)
    if size is None:
        assert all(len(values.unique()) <= levels for values in found.values) or format.group_size
    apart = (found.values.double() - given.double()).abs()
    widest = found.half_steps if format in INTS else 0.16 * given.abs().amax().double()
    assert (apart <= widest * (1 + 1e-6)).all(), "to the nearest level"
    assert found.values.shape == given.shape == found.codes.shape == found.half_steps.shape
    assert found.values.dtype == given.dtype


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
def test_weights_too_small_for_a_step_are_no_nan(format: Format) -> None:
    found = rounded(torch.full((2, 3), 1e-45), format)
    assert torch.isfinite(found.values).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
def test_the_same_bits_on_a_gpu(format: Format) -> None:
    given = weights(3, 64, 32, 3, 3)
    here, there = rounded(given, format), rounded(given.cuda(), format)
    for name in ("values", "codes", "half_steps"):
        assert torch.equal(getattr(here, name), getattr(there, name).cpu())


def test_convolutions_and_linear_layers_alone_are_rounded() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    names = weights_of(model)
    assert names == ["0.weight", "3.weight"]
    before = model.state_dict()
    after = converted(before, names, lambda weight: rounded(weight, registry.find(Format, "int3")))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(names) and list(after) == list(before)
    model.load_state_dict(after)
