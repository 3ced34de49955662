"""FedOSD: its bounded loss, its projections and one round of each phase, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.data.types import Request
from fedunlearn.federation import wire
from fedunlearn.federation.method import NoSettings
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods import fedosd
from fedunlearn.methods.fedosd import FedOSD, FedOSDServer, orthogonal, retain_gradient, unlearning_loss
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import TASKS, ClassOutputs

ONE = TrainConfig(rounds=1, local_epochs=1, batch_size=10, lr=1.0, momentum=0.9, weight_decay=0.1)
ROOT2 = 2**0.5


def test_one_unlearning_step_by_hand(pair_federation, play):
    """At w = 0 every p is 1/2, and UCE = −log(1 − p_y / 2) has the gradient 2/3 · 1/4 · x for y = 1.

    g_u = (1, 1) / 6. The other client's cross-entropy has the gradient (1/2, 0), so that d is along (0, 1) and, as
    long as g_u, √2 / 6. With a learning rate of 6: w = −(0, √2).
    """
    forget, retain = ((1, 1), 1, True), ((1, 0), 0, False)
    federation = pair_federation([forget, forget], [retain, retain])
    after = play(federation, "fedosd", FedOSD(unlearn_lr=6.0), ONE)[-1]
    torch.testing.assert_close(after.model["head.weight"], torch.tensor([0.0, -ROOT2]), atol=1e-6, rtol=1e-5)
    assert after.cost["samples"] == 2 + 2  # trained on, and for the other gradient


def test_a_client_with_both_kinds_of_data_takes_part_on_both_sides(pair_federation, play):
    forget, retain = ((1, 1), 1, True), ((1, 0), 0, False)
    after = play(pair_federation([forget, forget, retain]), "fedosd", FedOSD(unlearn_lr=6.0), ONE)[-1]
    torch.testing.assert_close(after.model["head.weight"], torch.tensor([0.0, -ROOT2]), atol=1e-6, rtol=1e-5)


def test_a_step_that_would_hurt_whatever_its_direction_is_not_made(pair_federation, play):
    rows = [((1, 0), 1, True)] * 2, [((1, 0), 0, False)] * 2  # both gradients are along (1, 0)
    after = play(pair_federation(*rows), "fedosd", FedOSD(unlearn_lr=6.0), ONE)[-1]
    assert after.model["head.weight"].tolist() == [0.0, 0.0]


def test_one_round_of_post_training_by_hand():
    """w_o = (0, 0), w = (0, 2), so that g_a is along (0, 1).

    Client 0 moves by (3, 4) and client 1 by (−6, 8), which leaves (5, 0) and (−10, 0); weights 3 and 1 give 5/4.
    """
    spec = StageSpec("unlearn", 0, "fedosd", replace(ONE, rounds=2), 2)
    server = FedOSDServer(FedOSD(unlearn_rounds=1), spec, wire.by_reference, torch.device("cpu"))
    server.memory = {"w": torch.zeros(2)}
    start = {"w": torch.tensor([0.0, 2.0]), "buffer": torch.tensor(1.0)}
    server.before_round(2, start)
    server.on_client_model(0, {"w": start["w"] - torch.tensor([3.0, 4.0])}, 3.0)
    server.on_client_model(1, {"w": start["w"] - torch.tensor([-6.0, 8.0])}, 1.0)
    result = server.after_round(2, {"w": torch.zeros(2), "buffer": torch.tensor(7.0)})
    torch.testing.assert_close(result["w"], torch.tensor([-1.25, 2.0]))
    assert result["buffer"] == 7.0


def test_the_loss_by_hand_and_its_bounds():
    even = torch.zeros(3, 2, requires_grad=True)

    def loss(logits, labels, weights):
        batch = Batch({}, torch.tensor(labels), torch.tensor(weights))
        return unlearning_loss(ClassOutputs(logits, logits), batch, TASKS["classification"])

    value = loss(even, [0, 1, 0], [1.0, 1.0, 0.0])
    assert value.item() == pytest.approx(-np.log(0.75))
    value.backward()
    torch.testing.assert_close(even.grad[0], torch.tensor([1.0, -1.0]) / 12)  # 2/3 · 1/4, and half of it: two rows
    assert even.grad[2].tolist() == [0.0, 0.0]
    sure = torch.tensor([[60.0, 0.0]])
    assert loss(sure, [0], [1.0]).item() == pytest.approx(np.log(2))
    assert loss(sure, [1], [1.0]).item() == pytest.approx(0.0)
    assert loss(sure, [0], [0.0]).item() == 0.0


def test_projection_by_hand():
    torch.testing.assert_close(
        orthogonal(torch.tensor([3.0, 4.0]), torch.tensor([[0.0, 2.0]])), torch.tensor([5.0, 0.0])
    )
    nothing = torch.zeros(1, 2)
    torch.testing.assert_close(orthogonal(torch.tensor([3.0, 4.0]), nothing), torch.tensor([3.0, 4.0]))
    assert orthogonal(torch.zeros(2), torch.ones(1, 2)).tolist() == [0.0, 0.0]


@given(st.integers(0, 10_000), st.integers(1, 5), st.booleans(), st.sampled_from([1e-4, 1.0, 1e4]))
def test_the_direction_is_orthogonal_to_every_row_and_as_long_as_before(seed, rows, doubled, scale):
    stream = np.random.default_rng(seed)
    a = stream.standard_normal((rows, 8)) * scale
    g = stream.standard_normal(8)
    a = np.concatenate([a, a]) if doubled else a  # rank deficient
    d = orthogonal(torch.from_numpy(g), torch.from_numpy(a)).numpy()
    assert np.abs(a @ d).max() < 1e-6 * scale
    assert np.linalg.norm(d) == pytest.approx(np.linalg.norm(g))
    rest = g - a.T @ np.linalg.lstsq(a.T, g, rcond=None)[0]
    assert rest @ d == pytest.approx(np.linalg.norm(rest) * np.linalg.norm(d))


@pytest.mark.parametrize("batch", [3, 512])
def test_the_retain_gradient_is_that_of_the_mean_and_sees_no_forget_data(batch, make_federation, monkeypatch):
    monkeypatch.setattr(fedosd, "EVALUATION_BATCH", batch)
    federation = make_federation(clients=1)
    client, model = federation.client(0), federation.models.fresh(1)
    rows = (~client.forget).nonzero()[:, 0]
    loss = torch.nn.functional.cross_entropy(model(client.inputs(rows)), client.targets[rows])
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    with torch.no_grad():  # as queries are asked
        found = retain_gradient(model, client, FedOSD(), None)["gradient"]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_a_client_with_nothing_to_retain_constrains_nothing(pair_federation):
    client = pair_federation([((1, 1), 1, True)] * 2).client(0)
    gradient = retain_gradient(pair_federation([((1, 1), 1, True)]).models.fresh(0), client, FedOSD(), None)["gradient"]
    assert gradient.tolist() == [0.0, 0.0]


def test_half_the_rounds_unlearn_and_the_others_train(trained, play):
    federation, original = trained
    pace = TrainConfig(rounds=6, local_epochs=1, batch_size=10, lr=0.02)
    seen = play(federation, "fedosd", FedOSD(unlearn_lr=1.0), pace, original)
    accuracy = np.array([entry["scores"] for entry in seen[-1].history])
    assert accuracy[0][1] >= 0.8
    assert accuracy[3][1] == 0
    assert accuracy[-1][1] == 0
    assert accuracy[-1][[0, 2, 3]].mean() > 0.9
    samples = np.diff([progress.cost["samples"] for progress in seen])
    held = int(federation.request.forget.sum())
    everything = len(federation.request.forget)
    assert samples.tolist() == [everything] * 3 + [everything - held] * 3
    tuned = play(federation, "finetune", NoSettings(), pace, original)[-1]
    assert tuned.history[-1]["scores"][1] > 0.5


def test_post_training_does_not_lead_back(trained, play):
    federation, original = trained
    pace = TrainConfig(rounds=2, local_epochs=1, batch_size=10, lr=0.02)
    settings = FedOSD(unlearn_rounds=1, unlearn_lr=1.0)
    _, unlearned, after = (progress.model for progress in play(federation, "fedosd", settings, pace, original))
    way = torch.cat([(unlearned[name] - value).flatten() for name, value in original.model.items()])
    moved = torch.cat([(after[name] - value).flatten() for name, value in unlearned.items()])
    assert moved.norm() > 0.01
    assert abs(moved @ way) < 1e-4 * moved.norm() * way.norm()


def test_at_client_level_the_leaving_client_unlearns_and_the_others_train(trained, play):
    federation, original = trained
    leaving = np.zeros(len(federation.request.forget), dtype=bool)
    leaving[federation.parts[2]] = True
    federation = federation.replaced(wanted=Request("client", leaving, ()))
    seen = play(federation, "fedosd", FedOSD(), TrainConfig(rounds=2, local_epochs=1, batch_size=10), original)
    assert np.diff([progress.cost["samples"] for progress in seen]).tolist() == [len(leaving), (~leaving).sum()]
    assert registry.find("method", "fedosd").levels == {"class", "client", "sample"}
