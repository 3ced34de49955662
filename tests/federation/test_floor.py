"""A floor under steps: what rounding would undo never leaves the server, after every round and over interruptions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.deploy.base import Floor, Format, rounded
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.engines.local import Local
from fedunlearn.federation import floor
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.spec import StageSpec
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig

INT3 = Floor("int3")


def test_by_hand() -> None:
    # int3: codes -3 to 3, the largest weight 3.0 makes steps of 1
    before = torch.tensor([[3.0, 0.4, 0.4, -1.6, 0.0], [-3.0, 3.0, 1.0, 0.0, 0.0]])
    now = torch.tensor([[3.0, 0.45, 0.55, -1.4, -0.49], [-3.6, 3.4, 1.0, 0.0, -9.0]])
    found = floor.kept(INT3, {"weight": before}, {"weight": now, "bias": torch.tensor([7.0])})
    wanted = torch.tensor([[3.0, 0.4, 0.55, -1.4, 0.0], [-3.6, 3.0, 1.0, 0.0, -9.0]])
    torch.testing.assert_close(found["weight"], wanted, rtol=0, atol=0)
    assert found["bias"].item() == 7.0, "what formats do not round moves freely"


@given(st.integers(0, 10_000), st.sampled_from(["int8", "int4", "int3"]), st.floats(0.001, 1.0))
def test_a_weight_moves_if_and_only_if_its_code_does(seed: int, name: str, size: float) -> None:
    stream = torch.Generator().manual_seed(seed)
    before = torch.randn(3, 20, generator=stream)
    before[:, 0] = 5.0  # the largest, which stays, so that both have the same grid
    now = before + size * torch.randn(3, 20, generator=stream)
    now[:, 0] = 5.0
    now.clamp_(-5, 5)
    found = floor.kept(Floor(name), {"w": before}, {"w": now})["w"]
    format = registry.find(Format, name)
    codes = [rounded(weight, format).codes for weight in (before, now, found)]
    assert torch.equal(codes[1], codes[2]), "what ships is the same"
    assert torch.equal(found != before, (codes[0] != codes[1]) & (now != before))
    assert torch.equal(floor.kept(Floor(name), {"w": before}, {"w": found})["w"], found)


@pytest.fixture
def stage(make_federation, monkeypatch):
    """Two rounds of fine-tuning with a floor, from a checkpoint: `stage(spec, begin)` → all checkpoints."""
    federation: Federation = make_federation()

    def run(spec: StageSpec, begin: Progress | None = None) -> list[Progress]:
        from types import SimpleNamespace

        engine = Choice("local", Local(workers=1))
        config = SimpleNamespace(engine=engine, train=SimpleNamespace(evaluate_every=1))
        seen: list[Progress] = []
        start = begin or Progress(federation.models.fresh(3).state_dict())
        run_stage(spec, start, 2, federation, config, seen.append)  # type: ignore[arg-type]
        return seen

    return run


SPEC = StageSpec("unlearn", 0, "finetune", TrainConfig(rounds=2, local_epochs=3, batch_size=4, lr=0.3), 4, floor=INT3)


def test_a_stage_moves_no_weight_within_its_bin_and_goes_on_as_if_never_interrupted(stage) -> None:
    whole = stage(SPEC)
    first, last = whole[0].model, whole[-1].model
    free = stage(replace(SPEC, floor=None))[-1].model
    moved = 0
    for name in ("encoder.1.weight", "head.weight"):
        grid = rounded(first[name], registry.find(Format, "int3"))
        steps = (last[name].double() - grid.values.double()).abs() / grid.half_steps
        assert torch.equal(last[name] != first[name], steps > 1)
        moved += int((last[name] != first[name]).sum())
        assert not torch.equal(last[name], free[name])
    assert 0 < moved < sum(first[name].numel() for name in ("encoder.1.weight", "head.weight"))
    again = stage(SPEC, whole[1])[-1].model
    assert all(torch.equal(again[name], last[name]) for name in last)
