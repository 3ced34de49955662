"""How phases share the budget, what is refused before training, and resuming in the middle of any of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedunlearn.cli import command_line
from fedunlearn.engines.base import Progress
from fedunlearn.errors import RequestError
from fedunlearn.methods.fedosd import FedOSD
from fedunlearn.methods.gradient_ascent import GradientAscent
from fedunlearn.methods.momentum_degradation import MomentumDegradation
from fedunlearn.methods.phases import phase
from fedunlearn.runs.pipeline import check_method
from fedunlearn.settings.config import TrainConfig

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize(
    ("asked", "share", "rounds", "least", "expected"),
    [
        (3, 0.5, 10, 1, 3),
        (None, 0.2, 10, 1, 2),
        (None, 0.2, 2, 1, 1),
        (None, 0.2, 0, 1, 0),
        (None, 0.3, 1, 0, 0),
        (None, 0.3, 10, 0, 3),
        (0, 0.3, 10, 0, 0),
    ],
)
def test_a_phase_is_as_long_as_asked_for_or_its_share(asked, share, rounds, least, expected):
    assert phase(asked, share, rounds, least) == expected


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["method=gradient_ascent", "method.ascent_rounds=11"], "method.ascent_rounds=11 is more than the budget"),
        (["method=fedosd", "method.unlearn_rounds=11"], "method.unlearn_rounds=11 is more than the budget"),
        (
            ["method=momentum_degradation", "method.warmup_rounds=6", "method.guide_rounds=5"],
            "method.warmup_rounds=6 [+] method.guide_rounds=5 is more than the budget, unlearn.rounds=10",
        ),
        (["method=momentum_degradation", "method.warmup_rounds=10"], "nothing is unlearned"),
    ],
)
def test_phases_beyond_the_budget_are_refused(words, reason):
    with pytest.raises(RequestError, match=reason):
        check_method(command_line.read([*words, "unlearn.rounds=10"], CONF))
    check_method(command_line.read([*words, "unlearn.rounds=12"], CONF))


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("gradient_ascent", GradientAscent(ascent_rounds=2)),
        ("fedosd", FedOSD(unlearn_rounds=2)),
        ("momentum_degradation", MomentumDegradation(warmup_rounds=1, guide_rounds=1)),
    ],
)
def test_a_stage_resumes_with_the_same_bits_after_any_round(method, settings, make_federation, play):
    pace = TrainConfig(rounds=4, local_epochs=1, batch_size=6)
    seen = play(make_federation(), method, settings, pace)
    for stopped in seen[:-1]:
        saved = replace(stopped, cost={**stopped.cost})
        resumed = play(make_federation(), method, settings, pace, saved)[-1]
        for name, value in seen[-1].model.items():
            assert torch.equal(resumed.model[name], value), (stopped.cost["rounds"], name)
        assert resumed.history == seen[-1].history
        assert resumed.cost["bytes_down"] == seen[-1].cost["bytes_down"]
    assert isinstance(seen[0], Progress)
    assert [progress.cost["rounds"] for progress in seen] == [0, 1, 2, 3, 4]
