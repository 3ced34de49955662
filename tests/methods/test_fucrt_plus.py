"""FUCRT+: labels, the loss that does not see forgotten logits, and the mixed start, by hand."""

from math import log

import pytest
import torch

from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.fucrt_plus import FUCRTPlus, assign, contrastive_labels, hidden, mixed, objective
from fedunlearn.methods.transformation import Selection
from fedunlearn.models.base import Network
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import ClassOutputs

PLAN = StageSpec("unlearn", 0, "fucrt_plus", TrainConfig(), 4, forget_classes=(1,))
PLAIN = {"local_weight": 0.0, "global_weight": 0.0, "forget_weight": 1.0}


def test_the_start_is_a_mixture_with_fresh_rows():
    model = {"head.weight": torch.tensor([[1.0], [2.0]]), "head.bias": torch.tensor([3.0, 4.0]), "n": torch.tensor(7)}
    fresh = Network(torch.nn.Identity(), torch.nn.Linear(1, 2))
    fresh.register_buffer("n", torch.tensor(0))
    fresh.head.weight.data, fresh.head.bias.data = torch.tensor([[5.0], [6.0]]), torch.tensor([0.0, 1.0])
    start = mixed(model, fresh, 0.75, (1,))
    assert start["head.weight"].tolist() == [[0.75 * 1 + 0.25 * 5], [6.0]]
    assert start["head.bias"].tolist() == [0.75 * 3, 1.0]
    assert start["n"].item() == 7, "counters and running statistics are those of the original model"
    assert model["head.weight"].tolist() == [[1.0], [2.0]], "the original model is not touched"


@pytest.fixture
def loss_of(make_federation, context_of):
    """`loss_of(settings, logits, rows, weights)`, with random features and prototypes where the settings need any."""
    model = make_federation().models.fresh(0)
    stream = torch.Generator().manual_seed(0)
    shared = {"prototypes": torch.randn(4, 3, generator=stream), "known": torch.tensor([1, 0, 1, 1], dtype=torch.uint8)}
    features = torch.randn(4, 3, generator=stream)

    def loss(settings, logits, rows, weights):
        outputs = ClassOutputs(features[: len(rows)], logits)
        batch = Batch({}, rows, torch.tensor(weights))
        return objective(settings, PLAN).loss(outputs, batch, context_of(model, shared))

    return loss


def test_forget_samples_do_not_see_the_forgotten_logit(loss_of):
    logits = torch.tensor([[log(2.0), log(5.0), 0.0, 0.0], [log(2.0), log(5.0), 0.0, 0.0]], requires_grad=True)
    # a forget sample with labels 1/2 on classes 0 and 2, and a retain sample of class 0
    rows = torch.tensor([[0.5, 0.0, 0.5, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    loss = loss_of(FUCRTPlus(**PLAIN), logits, rows, [1.0, 1.0])
    forget = -0.5 * log(2 / 4) - 0.5 * log(1 / 4)  # of the probabilities 2/4, -, 1/4, 1/4
    retain = -log(2 / 9)
    assert loss.item() == pytest.approx((forget + retain) / 2, rel=1e-6)
    lighter = FUCRTPlus(**{**PLAIN, "forget_weight": 0.5})
    assert loss_of(lighter, logits, rows, [1.0, 1.0]).item() == pytest.approx((0.5 * forget + retain) / 2, rel=1e-6)
    loss.backward()
    assert logits.grad[0, 1].item() == 0, "no pressure on the forgotten logit of a forget sample"
    assert logits.grad[1, 1].item() == pytest.approx(5 / 9 / 2), "that of a retain sample is pushed down as ever"
    seen = loss_of(FUCRTPlus(forgotten_logits="seen", **PLAIN), logits, rows, [1.0, 1.0])
    assert seen.item() == pytest.approx((-0.5 * log(2 / 9) - 0.5 * log(1 / 9) + retain) / 2, rel=1e-6)


def test_rows_of_weight_zero_change_nothing(loss_of):
    logits = torch.randn(4, 4)
    rows = torch.tensor([[0.5, 0.0, 0.5, 0.0, 3.0], [1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0], [0.0, 0, 0, 1.0, 0]])
    shorter = loss_of(FUCRTPlus(), logits[:3], rows[:3], [1.0, 1.0, 1.0])
    torch.testing.assert_close(loss_of(FUCRTPlus(), logits, rows, [1.0, 1.0, 1.0, 0.0]), shorter)
    assert contrastive_labels(rows[:, :-1], rows[:, -1]).tolist() == [2, 0, 0, 3]


def test_labels_are_those_of_the_original_model(make_federation, context_of):
    federation = make_federation()
    client, model = federation.client(0), federation.models.fresh(2)
    context = context_of(model, {"allowed": torch.tensor([[0, 0, 1, 1]], dtype=torch.uint8)})
    decided = [assign(FUCRTPlus(labels=kind), PLAN, model, client, context) for kind in ("soft", "hard")]
    assert all(each.weights.tolist() == [1.0] * len(client) for each in decided)
    soft, hard = (each.labels for each in decided)
    kept, held = ~client.forget, client.forget
    assert held.any()
    for rows in (soft, hard):
        assert torch.equal(rows[kept, :4].argmax(1), client.targets[kept]) and not rows[kept, 4].any()
        assert set(rows[held, 4].tolist()) <= {3.0, 4.0}, "one more than a transformation class"
        torch.testing.assert_close(rows[:, :4].sum(1), torch.ones(len(rows)))
        assert not rows[held, 1].any()
    assert torch.equal(hard[held, :4].argmax(1) + 1, hard[held, 4].long())
    assert (soft[held, :4] > 0).sum(1).eq(3).all()


def test_sharper_labels_are_powers_of_the_prediction(make_federation, context_of):
    federation = make_federation()
    client, model = federation.client(0), federation.models.fresh(2)
    model.head.weight.data.zero_()
    model.head.bias.data = torch.tensor([0.8, 9.0, 0.1, 0.1]).log()  # whatever the image; class 1 is masked
    context = context_of(model, {"allowed": torch.tensor([[0, 0, 1, 1]], dtype=torch.uint8)})

    def label(sharpness):
        rows = assign(FUCRTPlus(sharpness=sharpness), PLAN, model, client, context).labels
        return rows[client.forget.nonzero()[0, 0], :4]

    torch.testing.assert_close(label(1.0), torch.tensor([0.8, 0.0, 0.1, 0.1]))
    torch.testing.assert_close(label(2.0), torch.tensor([0.64, 0.0, 0.01, 0.01]) / 0.66)
    assert label(1000.0).tolist() == [1, 0, 0, 0]


def test_hidden_touches_forget_rows_only():
    logits = torch.ones(2, 4)
    assert hidden(logits, torch.tensor([True, False]), (1, 3))[:, [1, 3]].lt(0).tolist() == [[True] * 2, [False] * 2]


@pytest.mark.parametrize("settings", [FUCRTPlus(), FUCRTPlus(selection=Selection(), keep=1.0, labels="hard")])
def test_a_whole_stage(trained, play, settings):
    federation, original = trained
    pace = TrainConfig(rounds=3, local_epochs=2, batch_size=10, lr=0.05)
    after = play(federation, "fucrt_plus", settings, pace, original)[-1]
    accuracy = torch.tensor(after.history[-1]["scores"])
    assert accuracy[1] < 0.2
    assert accuracy[[0, 2, 3]].mean() > 0.8
    assert after.notes["transformation_classes"]["1"]
