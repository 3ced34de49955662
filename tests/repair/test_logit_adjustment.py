"""Logit adjustment: by hand, centred, and never of a class that nobody has or that is to be forgotten."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedunlearn.engines.base import Progress
from fedunlearn.repair.logit_adjustment import LogitAdjustment, adjusted


def test_adjustment_by_hand():
    found = adjusted(torch.tensor([2.0, 0.0, 8.0]), tau=0.5)
    half = 0.5 * (math.log(8) - math.log(2)) / 2
    assert found.tolist() == pytest.approx([half, 0, -half])


@settings(max_examples=30)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=6), st.floats(0.1, 3))
def test_it_is_finite_and_centred_and_balanced_classes_stay(counts, tau):
    found = adjusted(torch.tensor(counts, dtype=torch.float64), tau)
    assert found.isfinite().all()
    assert float(found.sum()) == pytest.approx(0, abs=1e-6)
    assert not found[torch.tensor(counts) == 0].any()
    assert not adjusted(torch.tensor([7.0 if count else 0.0 for count in counts]), tau).abs().gt(1e-12).any()


def test_clients_counts_are_those_of_pooled_data(skewed, mend):
    # a tenth of class 0 is dealt to nobody, so that classes are not balanced
    split, pooled = skewed([0, 2], [2, 3], [0, 1, 3]), skewed([0, 1, 2, 3])
    for federation in (split, pooled):
        federation.parts = [part[part >= 5] for part in federation.parts]
    several, one = (mend("logit_adjustment", each, LogitAdjustment(2.0))[-1] for each in (split, pooled))
    assert torch.equal(several.model["head.bias"], one.model["head.bias"])
    start = split.models.fresh(0).head.bias
    expected = adjusted(torch.tensor([7.0, 0.0, 12.0, 12.0]), 2.0)
    torch.testing.assert_close(several.model["head.bias"], (start.double() + expected).float())


def test_a_client_cannot_bring_a_forgotten_class_into_the_counts(skewed, mend, monkeypatch):
    from fedunlearn.repair import logit_adjustment

    counted = logit_adjustment.counted
    monkeypatch.setattr(logit_adjustment, "counted", lambda client, spec: counted(client, spec) + torch.arange(4))
    federation = skewed([0, 2, 3])
    model = federation.models.fresh(0).state_dict()
    after = mend("logit_adjustment", federation, begin=Progress(model))[-1].model["head.bias"]
    assert after[1] == model["head.bias"][1] and (after != model["head.bias"]).sum() == 3
