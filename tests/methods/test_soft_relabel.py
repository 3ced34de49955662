"""Soft relabelling: the target distribution and the loss, by hand."""

from math import log

import pytest
import torch

from fedunlearn.federation import wire
from fedunlearn.federation.objective import task_loss
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.soft_relabel import SoftRelabel, SoftRelabelServer, masked_prediction, softened
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import ClassOutputs

PLAN = StageSpec("unlearn", 0, "soft_relabel", TrainConfig(), 4, forget_classes=(1,))
LOGITS = torch.tensor([[log(2.0), log(5.0), log(1.0), log(1.0)]])  # probabilities 2/9, 5/9, 1/9, 1/9


def test_forgotten_classes_are_masked_and_the_rest_sums_to_one():
    torch.testing.assert_close(masked_prediction(LOGITS, (1,), 1.0), torch.tensor([[0.5, 0.0, 0.25, 0.25]]))
    torch.testing.assert_close(masked_prediction(LOGITS, (1, 2), 1.0), torch.tensor([[2 / 3, 0.0, 0.0, 1 / 3]]))


def test_temperature_flattens():
    # odds 2 : 1 : 1 become sqrt(2) : 1 : 1 at T = 2
    root = 2**0.5
    expected = torch.tensor([[root, 0.0, 1.0, 1.0]]) / (root + 2)
    torch.testing.assert_close(masked_prediction(LOGITS, (1,), 2.0), expected)


def test_retain_samples_keep_their_label_and_forget_samples_get_the_masked_prediction(make_federation, context_of):
    federation = make_federation()
    client, model = federation.client(0), federation.models.fresh(2)
    decided = softened(SoftRelabel(), PLAN, model, client, context_of(model))
    targets = decided.labels
    assert decided.weights.tolist() == [1.0] * len(client)
    kept, held = ~client.forget, client.forget.nonzero()[:, 0]
    assert torch.equal(targets[kept], torch.nn.functional.one_hot(client.targets[kept], 4).float())
    expected = masked_prediction(observed(model, client, held)["logits"], (1,), 1.0)
    assert len(held) > 0
    torch.testing.assert_close(targets[held], expected)


@pytest.mark.parametrize("relabel", ["once", "round"])
def test_the_original_decides_once_and_the_received_model_each_round(relabel, make_federation, context_of):
    federation = make_federation()
    client, original, received = federation.client(0), federation.models.fresh(1), federation.models.fresh(2)
    server = SoftRelabelServer(SoftRelabel(relabel=relabel), PLAN, wire.by_reference, torch.device("cpu"))
    server.prepare({name: value.clone() for name, value in original.state_dict().items()}, None)
    found = softened(SoftRelabel(), PLAN, received, client, context_of(received, server.shared)).labels
    decider = original if relabel == "once" else received
    torch.testing.assert_close(found, softened(SoftRelabel(), PLAN, decider, client, context_of(decider)).labels)


@pytest.fixture
def soft_loss(context_of):
    """The task's loss on soft labels: `soft_loss(logits, labels, weights)`."""
    context = context_of(torch.nn.Identity())
    return lambda logits, labels, weights: task_loss(ClassOutputs(logits, logits), Batch({}, labels, weights), context)


def test_loss_is_the_mean_over_the_rows_that_are_not_left_out(soft_loss):
    logits = torch.tensor([[0.0, 0.0], [log(3.0), 0.0], [5.0, -7.0]])
    targets = torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.5, 0.5]])
    weights = torch.tensor([1.0, 1.0, 0.0])
    expected = (log(2) + 0.25 * log(4 / 3) + 0.75 * log(4)) / 2
    loss = soft_loss(logits, targets, weights)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    shorter = soft_loss(logits[:2], targets[:2], weights[:2])
    assert loss.item() == shorter.item()
    assert soft_loss(logits[2:], targets[2:], weights[2:]).item() == 0


def test_loss_can_be_vectorised_over_clients(soft_loss):
    logits, targets, weights = torch.randn(3, 5, 4), torch.rand(3, 5, 4).softmax(2), torch.ones(3, 5)
    weights[1, 2:] = 0
    together = torch.func.vmap(soft_loss)(logits, targets, weights)
    alone = torch.stack([soft_loss(*row) for row in zip(logits, targets, weights, strict=True)])
    torch.testing.assert_close(together, alone)
