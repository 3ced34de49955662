"""torchao as a second opinion: the grid that it is said to have, and what it cannot do."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from fedunlearn.deploy import backends, torchao
from fedunlearn.errors import RequestError
from fedunlearn.settings.config import DeployConfig

ASKED = DeployConfig(("int8", "int4", "int3"), "torchao")


def test_what_it_cannot_do_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchao, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r'not installed: pip install "fedunlearn\[torchao\]"'):
        backends.check(ASKED)
    backends.check(DeployConfig((), "torchao"))
    monkeypatch.setattr(torchao, "find_spec", lambda name: object())
    backends.check(ASKED)
    with pytest.raises(RequestError, match="is for int8, int4 or int3, not for nf4"):
        backends.check(DeployConfig(("int8", "nf4"), "torchao"))
    with pytest.raises(RequestError, match="group_size=64 is for"):
        backends.check(DeployConfig(("int8",), "torchao", 64))


def test_layers_with_one_input_channel_per_group_are_left_and_named() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3), nn.Linear(4, 2))
    plan = backends.plan(model, ASKED)
    assert plan.left == ("0.weight", "1.weight") and plan.rounded == ("2.weight", "3.weight")
    assert "leaves 0.weight, 1.weight in float32" in plan.remark
    whole = backends.plan(model, DeployConfig(("int8",)))
    assert whole.left == () and whole.remark == "" and len(whole.rounded) == 4


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
@pytest.mark.parametrize("name", torchao.ROUNDS)
def test_it_agrees_with_the_definition_on_its_own_grid(name: str) -> None:
    """Scales max |w| / (2^(B-1) - 0.5), of a convolution for each output channel and position of the kernel."""
    bits, stream = int(name[3:]), torch.Generator().manual_seed(0)
    for shape in ((5, 16), (5, 4, 3, 3)):
        weight = torch.randn(shape, generator=stream)
        found = torchao.rounded(weight, name)
        step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 0.5)
        exact = (weight / step).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert ((found.codes - exact).abs() <= 0.5 + 1e-4).all(), "the nearest code; ties may fall either way"
        assert torch.allclose(found.values, found.codes * step, atol=1e-6)
        assert torch.allclose(found.half_steps.float(), (step / 2).expand(shape))


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
def test_on_linear_layers_both_come_to_the_same_within_a_step() -> None:
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))
    ours, theirs = (
        backends.quantiser("int8", DeployConfig(("int8",), name))(weight) for name in ("reference", "torchao")
    )
    assert ((ours.values - theirs.values).abs() <= 2.1 * ours.half_steps).all()
