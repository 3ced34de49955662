"""Losses, likelihood and score by hand and as torch has them; means that leave samples out; weights that are lent."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from fedunlearn.models.base import Around
from fedunlearn.tasks.base import Batch, weighted_mean
from fedunlearn.tasks.classification import TASKS, ClassOutputs

TASK = TASKS["classification"]
LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 1, 1, 2, 0])
OUTPUTS = ClassOutputs(LOGITS[:, :2], LOGITS)


def batch(targets):
    return Batch({}, targets, torch.ones(len(targets)))


def test_losses_are_cross_entropy_and_soft_labels_of_one_class_are_hard_ones():
    hard = TASK.losses(OUTPUTS, batch(LABELS))
    torch.testing.assert_close(hard, F.cross_entropy(LOGITS, LABELS, reduction="none"))
    torch.testing.assert_close(TASK.losses(OUTPUTS, batch(F.one_hot(LABELS, 4).float())), hard)
    spread = torch.full((6, 4), 0.25)
    torch.testing.assert_close(TASK.losses(OUTPUTS, batch(spread)), F.cross_entropy(LOGITS, spread, reduction="none"))


def test_likelihood_is_the_probability_of_the_target_with_a_gradient():
    logits = LOGITS.clone().requires_grad_()
    found = TASK.likelihood(ClassOutputs(logits, logits), batch(LABELS))
    expected = torch.stack([LOGITS[row].softmax(0)[label] for row, label in enumerate(LABELS)])
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert logits.grad.abs().sum() > 0


def test_score_is_one_where_the_target_has_the_largest_logit():
    logits = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    found = TASK.score(ClassOutputs(logits, logits), batch(torch.tensor([0, 1, 1])))
    assert found.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1.0, 1.0, 1.0], (1 + 2 + 4) / 3),
        ([1.0, 0.0, 1.0], (1 + 4) / 2),  # a zero leaves a sample out of the count as well
        ([1.0, 0.3, 0.0], (1 + 0.3 * 2) / 2),  # any other weight counts as a sample
        ([-1.0, 0.0, 0.5], (-1 + 0.5 * 4) / 2),
        ([0.0, 0.0, 0.0], 0.0),
    ],
)
def test_weighted_mean_by_hand(weights, expected):
    assert weighted_mean(torch.tensor([1.0, 2.0, 4.0]), torch.tensor(weights)).item() == pytest.approx(expected)


def test_samples_that_are_left_out_count_for_nothing():
    losses = torch.tensor([1.0, 1e30, 3.0], requires_grad=True)
    value = weighted_mean(losses, torch.tensor([1.0, 0.0, 1.0]))
    assert value.item() == 2.0
    assert torch.autograd.grad(value, losses)[0].tolist() == [0.5, 0.0, 0.5]


def test_a_function_around_a_model_runs_with_the_weights_that_are_lent(make_federation):
    federation = make_federation()
    model, other = federation.models.fresh(0), federation.models.fresh(1)
    inputs = federation.client(0).inputs(torch.arange(5))
    weights = {f"model.{name}": value for name, value in other.state_dict().items()}
    found = functional_call(Around(model, TASK.outputs), weights, (model, inputs))
    torch.testing.assert_close(found.logits, other(inputs))
    torch.testing.assert_close(found.features, other.features(inputs))
    assert not torch.equal(found.logits, model(inputs))
