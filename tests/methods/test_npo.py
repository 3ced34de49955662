"""NPO and gradient difference: their losses by hand, and what they do to a model that knows."""

import math
from types import SimpleNamespace

import pytest
import torch

from fedunlearn.federation.objective import RoundContext
from fedunlearn.methods import gradient_difference, npo
from fedunlearn.methods.gradient_difference import GradientDifference
from fedunlearn.methods.npo import NPO, REFERENCE, preference
from fedunlearn.methods.retaining import ORIGINAL, divergence
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import TASKS, ClassOutputs

LOGITS = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0], [math.log(9.0), 0.0]])
LOSSES = [-math.log(0.75), math.log(2), -math.log(0.9)]
# The first is to be forgotten, the second to be retained, and the third fills the batch up.
BATCH = Batch(
    {}, torch.tensor([1, 0, 0]), torch.tensor([-1.0, 1.0, 0.0]), beside={REFERENCE: torch.tensor([0.1, 0, 0])}
)


def context(shared=None):
    return RoundContext(TASKS["classification"], 1, shared or {}, {}, SimpleNamespace())


def loss_of(module, settings, **batch):
    return float(module.objective(settings, None).loss(ClassOutputs(LOGITS, LOGITS), BATCH, context()))


def test_the_loss_of_npo():
    risen = LOSSES[0] - 0.1
    forget = -2 / 0.5 * math.log(1 / (1 + math.exp(-0.5 * risen)))
    assert loss_of(npo, NPO(beta=0.5, retain="none")) == pytest.approx(forget, rel=1e-5)
    assert loss_of(npo, NPO(beta=0.5, retain_weight=3, forget_weight=2)) == pytest.approx(2 * forget + 3 * LOSSES[1])


def test_the_slope_of_npo_is_that_of_ascent_at_first_and_vanishes():
    risen = torch.tensor([0.0, 400.0], requires_grad=True)
    preference(risen, 0.1).sum().backward()
    assert risen.grad.tolist() == pytest.approx([-1.0, 0.0])


def test_the_loss_of_gradient_difference():
    assert loss_of(gradient_difference, GradientDifference(retain="none")) == pytest.approx(-LOSSES[0])
    weighted = GradientDifference(retain_weight=3, forget_weight=2)
    assert loss_of(gradient_difference, weighted) == pytest.approx(3 * LOSSES[1] - 2 * LOSSES[0])
    assert loss_of(gradient_difference, GradientDifference(stop_loss=0.2, retain="none")) == pytest.approx(-0.2)


def test_divergence_by_hand_of_classes_and_of_answers():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    by_hand = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    classes = Batch({}, torch.tensor([0]), torch.ones(1))
    assert divergence(p.log(), q.log(), classes).tolist() == pytest.approx([by_hand])
    answers = Batch({}, torch.tensor([[-100, 1, 0]]), torch.ones(1))
    of_tokens = divergence(torch.stack([q, p, p], 1).log(), torch.stack([p, q, p], 1).log(), answers)
    assert of_tokens.tolist() == pytest.approx([by_hand / 2])


@pytest.mark.parametrize("retain", ["ce", "kl"])
@pytest.mark.parametrize("name", ["npo", "gradient_difference"])
def test_what_is_forgotten_becomes_unlikely_and_the_rest_stays(trained, play, name, retain):
    federation, begin = trained
    settings = {"npo": NPO, "gradient_difference": GradientDifference}[name](retain=retain)
    pace = TrainConfig(rounds=3, local_epochs=1, batch_size=10, lr=0.02)
    seen = play(federation, name, settings, pace, begin)
    model = federation.models.fresh(0)
    model.load_state_dict(seen[-1].model)
    right = model.eval()(federation.dataset.prepare(federation.test.inputs)).argmax(1) == federation.test.targets
    forget = federation.test.groups == 1
    assert right[forget].float().mean() < 0.5 and right[~forget].float().mean() > 0.8
    assert all(torch.equal(seen[-1].shared[ORIGINAL + key], value) for key, value in begin.model.items())


def test_the_original_models_answers_are_worked_out_once(trained):
    federation, begin = trained
    client, model = federation.client(0), federation.models.fresh(0)
    first = context({ORIGINAL + name: value for name, value in begin.model.items()})
    first = RoundContext(first.task, 1, first.shared, begin.model, model)
    objective = npo.objective(NPO(), None)
    decided = objective.assign(model, client, first)
    later = RoundContext(first.task, 2, {}, begin.model, model)  # there is nothing to work them out from
    assert torch.equal(objective.assign(model, client, later).beside[REFERENCE], decided.beside[REFERENCE])
    model.load_state_dict(begin.model)
    held = client.forget.nonzero()[:, 0]
    expected = TASKS["classification"].losses(ClassOutputs(None, model.eval()(client.inputs(held))), client.batch(held))
    torch.testing.assert_close(decided.beside[REFERENCE][held], expected.detach())
    assert decided.beside[REFERENCE][~client.forget].abs().sum() == 0
