"""FUCRT+: labels, the loss that does not see forgotten logits, and the mixed start, by hand."""

from math import log

import pytest
import torch

from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.fucrt_plus import FUCRTPlus, contrastive_labels, hidden, mixed, objective, targets
from fedunlearn.methods.transformation import Selection
from fedunlearn.settings.config import TrainConfig

PLAN = StageSpec("unlearn", 0, "fucrt_plus", TrainConfig(), 4, forget_classes=(1,))
PLAIN = {"local_weight": 0.0, "global_weight": 0.0, "forget_weight": 1.0}


def test_the_start_is_a_mixture_with_fresh_rows():
    model = {"head.weight": torch.tensor([[1.0], [2.0]]), "head.bias": torch.tensor([3.0, 4.0]), "n": torch.tensor(7)}
    fresh = {"head.weight": torch.tensor([[5.0], [6.0]]), "head.bias": torch.tensor([0.0, 1.0]), "n": torch.tensor(0)}
    start = mixed(model, fresh, {"head.weight", "head.bias"}, 0.75, (1,))
    assert start["head.weight"].tolist() == [[0.75 * 1 + 0.25 * 5], [6.0]]
    assert start["head.bias"].tolist() == [0.75 * 3, 1.0]
    assert start["n"].item() == 7, "counters and running statistics are those of the original model"
    assert model["head.weight"].tolist() == [[1.0], [2.0]], "the original model is not touched"


def test_forget_samples_do_not_see_the_forgotten_logit():
    logits = torch.tensor([[log(2.0), log(5.0), 0.0, 0.0], [log(2.0), log(5.0), 0.0, 0.0]], requires_grad=True)
    # a forget sample with labels 1/2 on classes 0 and 2, and a retain sample of class 0
    rows = torch.tensor([[0.5, 0.0, 0.5, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    loss = objective(FUCRTPlus(**PLAIN), PLAN).loss(torch.empty(2, 0), logits, rows, {})
    forget = -0.5 * log(2 / 4) - 0.5 * log(1 / 4)  # of the probabilities 2/4, -, 1/4, 1/4
    retain = -log(2 / 9)
    assert loss.item() == pytest.approx((forget + retain) / 2, rel=1e-6)
    lighter = FUCRTPlus(**{**PLAIN, "forget_weight": 0.5})
    assert objective(lighter, PLAN).loss(torch.empty(2, 0), logits, rows, {}).item() == pytest.approx(
        (0.5 * forget + retain) / 2, rel=1e-6
    )
    loss.backward()
    assert logits.grad[0, 1].item() == 0, "no pressure on the forgotten logit of a forget sample"
    assert logits.grad[1, 1].item() == pytest.approx(5 / 9 / 2), "that of a retain sample is pushed down as ever"
    seen = objective(FUCRTPlus(forgotten_logits="seen", **PLAIN), PLAN).loss(torch.empty(2, 0), logits, rows, {})
    assert seen.item() == pytest.approx((-0.5 * log(2 / 9) - 0.5 * log(1 / 9) + retain) / 2, rel=1e-6)


def test_rows_that_are_not_there_change_nothing():
    features, logits = torch.randn(4, 3), torch.randn(4, 4)
    rows = torch.tensor([[0.5, 0.0, 0.5, 0.0, 3.0], [1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0], [0.0] * 5])
    shared = {"prototypes": torch.randn(4, 3), "known": torch.tensor([1, 0, 1, 1], dtype=torch.uint8)}
    loss = objective(FUCRTPlus(), PLAN).loss
    shorter = loss(features[:3], logits[:3], rows[:3], shared)
    torch.testing.assert_close(loss(features, logits, rows, shared), shorter)
    assert contrastive_labels(rows[:, :-1], rows[:, -1]).tolist() == [2, 0, 0, -1]


def test_labels_are_those_of_the_original_model(make_federation):
    federation = make_federation()
    client, model = federation.client(0), federation.models.fresh(2)
    shared = {"allowed": torch.tensor([[0, 0, 1, 1]], dtype=torch.uint8)}
    soft = targets(FUCRTPlus(), PLAN, model, client, shared)
    hard = targets(FUCRTPlus(labels="hard"), PLAN, model, client, shared)
    kept, held = ~client.forget, client.forget
    assert held.any()
    for rows in (soft, hard):
        assert torch.equal(rows[kept, :4].argmax(1), client.targets[kept]) and not rows[kept, 4].any()
        assert set(rows[held, 4].tolist()) <= {3.0, 4.0}, "one more than a transformation class"
        torch.testing.assert_close(rows[:, :4].sum(1), torch.ones(len(rows)))
        assert not rows[held, 1].any()
    assert torch.equal(hard[held, :4].argmax(1) + 1, hard[held, 4].long())
    assert (soft[held, :4] > 0).sum(1).eq(3).all()


def test_hidden_touches_forget_rows_only():
    logits = torch.ones(2, 4)
    assert hidden(logits, torch.tensor([True, False]), (1, 3))[:, [1, 3]].lt(0).tolist() == [[True] * 2, [False] * 2]


@pytest.mark.parametrize("settings", [FUCRTPlus(), FUCRTPlus(selection=Selection(), keep=1.0, labels="hard")])
def test_a_whole_stage(trained, play, settings):
    federation, original = trained
    pace = TrainConfig(rounds=3, local_epochs=2, batch_size=10, lr=0.05)
    after = play(federation, "fucrt_plus", settings, pace, original)[-1]
    accuracy = torch.tensor(after.history[-1]["class_accuracy"])
    assert accuracy[1] < 0.2
    assert accuracy[[0, 2, 3]].mean() > 0.8
    assert after.notes["transformation_classes"]["1"]
