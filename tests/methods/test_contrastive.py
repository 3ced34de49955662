import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.methods.contrastive import prototype_contrastive, prototype_distance, supervised_contrastive

E1, E2 = [2.0, 0.0], [0.0, 5.0]  # lengths must not matter


def test_supervised_contrastive_by_hand():
    features, targets = torch.tensor([E1, E1, E2]), torch.tensor([0, 0, 1])
    # Anchors 0 and 1 each have one positive at similarity 1/T = 2 and one negative at 0; anchor 2 has no positive.
    expected = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert supervised_contrastive(features, targets, 0.5).item() == pytest.approx(expected, rel=1e-6)


def brute_force(features, targets, temperature):
    z = F.normalize(features, dim=1)
    there = [i for i in range(len(z)) if targets[i] >= 0]
    losses = []
    for i in there:
        positives = [p for p in there if p != i and targets[p] == targets[i]]
        if positives:
            bottom = sum(math.exp(float(z[i] @ z[a]) / temperature) for a in there if a != i)
            terms = [math.log(math.exp(float(z[i] @ z[p]) / temperature) / bottom) for p in positives]
            losses.append(-sum(terms) / len(terms))
    return sum(losses) / len(losses) if losses else 0.0


@given(st.integers(0, 10_000), st.lists(st.integers(-1, 2), min_size=2, max_size=7))
def test_supervised_contrastive_agrees_with_brute_force(seed, targets):
    features = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    loss = supervised_contrastive(features, torch.tensor(targets), 0.7).item()
    assert loss == pytest.approx(brute_force(features, targets, 0.7), abs=1e-9)


def test_prototype_contrastive_by_hand():
    prototypes, known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]), torch.tensor([True, True, False])
    features, targets = torch.tensor([E1, E2, E1]), torch.tensor([0, 0, 2])
    # Row 0: own 1, other 0; row 1: own 0, other 1; row 2's class has no prototype.
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    loss = prototype_contrastive(features, targets, prototypes, known, 0.5)
    assert loss.item() == pytest.approx((right + wrong) / 2, rel=1e-6)


def test_prototype_distance_by_hand():
    prototypes, known = torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.tensor([True, True])
    loss = prototype_distance(torch.tensor([E1, E2, E2]), torch.tensor([0, 1, -1]), prototypes, known)
    assert loss.item() == pytest.approx((0 + 0.25) / 2)


@pytest.mark.parametrize("loss", ["batch", "prototypes", "distance"])
def test_rows_that_are_left_out_have_no_influence_and_no_gradient(loss):
    def of(features, targets):
        prototypes, known = torch.eye(3), torch.ones(3, dtype=torch.bool)
        if loss == "batch":
            return supervised_contrastive(features, targets, 0.5)
        if loss == "prototypes":
            return prototype_contrastive(features, targets, prototypes, known, 0.5)
        return prototype_distance(features, targets, prototypes, known)

    kept = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([kept, torch.full((2, 3), 7.0)]).requires_grad_()
    targets = torch.tensor([0, 1, 0, 1, -1, -1])
    value = of(padded, targets)
    torch.testing.assert_close(value, of(kept, targets[:4]))
    value.backward()
    assert torch.equal(padded.grad[4:], torch.zeros(2, 3))
    assert padded.grad[:4].abs().sum() > 0


def test_nothing_to_learn_from_is_zero_with_finite_gradients():
    features = torch.randn(3, 2, requires_grad=True)
    nothing = torch.full((3,), -1)
    total = supervised_contrastive(features, nothing, 0.5) + prototype_contrastive(
        features, nothing, torch.zeros(2, 2), torch.zeros(2, dtype=torch.bool), 0.5
    )
    total.backward()
    assert total.item() == 0
    assert torch.isfinite(features.grad).all()
