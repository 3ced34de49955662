"""Soft relabelling: the target distribution and the loss, by hand."""

from math import log

import pytest
import torch

from fedunlearn.federation import wire
from fedunlearn.federation.objective import soft_cross_entropy
from fedunlearn.federation.sgd import observe
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.soft_relabel import SoftRelabel, SoftRelabelServer, masked_prediction, soft_targets
from fedunlearn.settings.config import TrainConfig

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


def test_retain_samples_keep_their_label_and_forget_samples_get_the_masked_prediction(make_federation):
    federation = make_federation()
    client, model = federation.client(0), federation.models.fresh(2)
    targets = soft_targets(SoftRelabel(), PLAN, model, client, {})
    kept, held = ~client.forget, client.forget.nonzero()[:, 0]
    assert torch.equal(targets[kept], torch.nn.functional.one_hot(client.targets[kept], 4).float())
    expected = masked_prediction(observe(model, client, held)[1], (1,), 1.0)
    assert len(held) > 0
    torch.testing.assert_close(targets[held], expected)


@pytest.mark.parametrize("relabel", ["once", "round"])
def test_the_original_decides_once_and_the_received_model_each_round(relabel, make_federation):
    federation = make_federation()
    client, original, received = federation.client(0), federation.models.fresh(1), federation.models.fresh(2)
    server = SoftRelabelServer(PLAN, SoftRelabel(relabel=relabel), wire.by_reference, torch.device("cpu"))
    server.prepare({name: value.clone() for name, value in original.state_dict().items()}, None)
    targets = soft_targets(SoftRelabel(), PLAN, received, client, server.shared)
    decider = original if relabel == "once" else received
    torch.testing.assert_close(targets, soft_targets(SoftRelabel(), PLAN, decider, client, {}))


def test_loss_is_the_mean_over_the_rows_that_are_not_left_out():
    logits = torch.tensor([[0.0, 0.0], [log(3.0), 0.0], [5.0, -7.0]])
    targets = torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.0, 0.0]])
    expected = (log(2) + 0.25 * log(4 / 3) + 0.75 * log(4)) / 2
    loss = soft_cross_entropy(torch.empty(3, 0), logits, targets, {})
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    shorter = soft_cross_entropy(torch.empty(2, 0), logits[:2], targets[:2], {})
    assert loss.item() == shorter.item()
    assert soft_cross_entropy(torch.empty(1, 0), logits[2:], targets[2:], {}).item() == 0


def test_loss_can_be_vectorised_over_clients():
    logits, targets = torch.randn(3, 5, 4), torch.rand(3, 5, 4).softmax(2)
    targets[1, 2:] = 0
    together = torch.func.vmap(lambda z, q: soft_cross_entropy(z, z, q, {}))(logits, targets)
    alone = torch.stack([soft_cross_entropy(z, z, q, {}) for z, q in zip(logits, targets, strict=True)])
    torch.testing.assert_close(together, alone)
