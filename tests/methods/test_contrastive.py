import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedunlearn.methods.contrastive import prototype_contrastive, prototype_distance, supervised_contrastive, unit

E1, E2 = [2.0, 0.0], [0.0, 5.0]  # lengths must not matter


def test_supervised_contrastive_by_hand():
    features, targets = torch.tensor([E1, E1, E2]), torch.tensor([0, 0, 1])
    # Anchors 0 and 1 each have one positive at similarity 1/T = 2 and one negative at 0; anchor 2 has no positive.
    expected = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert supervised_contrastive(unit(features), targets, 0.5).item() == pytest.approx(expected, rel=1e-6)


def brute_supervised(z, targets, temperature):
    """The definition, as two loops over the rows; a tensor, so that autograd knows its gradient."""
    there = [i for i in range(len(z)) if targets[i] >= 0]
    losses = []
    for i in there:
        positives = [p for p in there if p != i and targets[p] == targets[i]]
        if positives:
            bottom = sum(torch.exp(z[i] @ z[a] / temperature) for a in there if a != i)
            losses.append(
                -sum(torch.log(torch.exp(z[i] @ z[p] / temperature) / bottom) for p in positives) / len(positives)
            )
    return sum(losses) / len(losses) if losses else 0.0 * z.sum()


def brute_prototypes(z, targets, prototypes, known, temperature):
    losses = []
    for i in range(len(z)):
        if targets[i] >= 0 and known[targets[i]]:
            similar = [torch.exp(z[i] @ prototypes[c] / temperature) for c in range(len(known)) if known[c]]
            losses.append(-torch.log(torch.exp(z[i] @ prototypes[targets[i]] / temperature) / sum(similar)))
    return sum(losses) / len(losses) if losses else 0.0 * z.sum()


def brute_distance(z, targets, prototypes, known):
    usable = [i for i in range(len(z)) if targets[i] >= 0 and known[targets[i]]]
    losses = [sum((z[i, k] - prototypes[targets[i], k]) ** 2 for k in range(z.shape[1])) for i in usable]
    return sum(losses) / len(losses) if losses else 0.0 * z.sum()


# Masked rows, classes that are missing, all of one class, a single sample, prototypes that are not known.
BATCHES = st.lists(st.integers(-1, 2), min_size=1, max_size=7)
TEMPERATURES = st.sampled_from([0.1, 0.7])


def both(fast, slow, features, targets):
    """Value and gradient with respect to raw features, of the fast and of the slow form."""
    found = []
    for loss in (fast, slow):
        own = features.clone().requires_grad_()
        value = loss(unit(own), targets)
        found.append((value.detach(), *torch.autograd.grad(value, own)))
    return found


@settings(max_examples=60)
@given(st.integers(0, 10_000), BATCHES, st.lists(st.booleans(), min_size=3, max_size=3), TEMPERATURES)
def test_losses_and_gradients_agree_with_their_definitions(seed, targets, known, temperature):
    stream, targets, known = torch.Generator().manual_seed(seed), torch.tensor(targets), torch.tensor(known)
    features = torch.randn(len(targets), 4, generator=stream, dtype=torch.float64)
    prototypes = torch.randn(3, 4, generator=stream, dtype=torch.float64)
    pairs = [
        (lambda z, y: supervised_contrastive(z, y, temperature), lambda z, y: brute_supervised(z, y, temperature)),
        (
            lambda z, y: prototype_contrastive(z, y, prototypes, known, temperature),
            lambda z, y: brute_prototypes(z, y, prototypes, known, temperature),
        ),
        (
            lambda z, y: prototype_distance(z, y, prototypes, known),
            lambda z, y: brute_distance(z, y, prototypes, known),
        ),
    ]
    for fast, slow in pairs:
        (value, gradient), (expected, slope) = both(fast, slow, features, targets)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 33), st.lists(st.booleans(), min_size=3, max_size=3), TEMPERATURES)
def test_that_all_rows_are_there_changes_no_bit(seed, rows, known, temperature):
    stream, known = torch.Generator().manual_seed(seed), torch.tensor(known)
    features, targets = torch.randn(rows, 4, generator=stream), torch.randint(0, 3, (rows,), generator=stream)
    prototypes = torch.randn(3, 4, generator=stream)

    def at_once(z, y, whole):
        batch = supervised_contrastive(z, y, temperature, whole)
        near = prototype_contrastive(z, y, prototypes, known, temperature, whole)
        return batch + near + prototype_distance(z, y, prototypes, known, whole)

    found = both(lambda z, y: at_once(z, y, True), lambda z, y: at_once(z, y, False), features, targets)
    for told, looked in zip(*found, strict=True):
        assert torch.equal(told, looked)


def test_many_batches_at_once_are_the_batches_one_by_one():
    stream = torch.Generator().manual_seed(0)
    features, targets = torch.randn(5, 6, 3, generator=stream), torch.randint(-1, 3, (5, 6), generator=stream)
    prototypes, known = torch.randn(3, 3, generator=stream), torch.tensor([True, False, True])

    def loss(features, targets):
        z = unit(features)
        return supervised_contrastive(z, targets, 0.5) + prototype_contrastive(z, targets, prototypes, known, 0.5)

    gradients, losses = torch.func.vmap(torch.func.grad_and_value(loss))(features, targets)
    for row in range(5):
        gradient, value = torch.func.grad_and_value(loss)(features[row], targets[row])
        torch.testing.assert_close(losses[row], value)
        torch.testing.assert_close(gradients[row], gradient)


def test_prototype_contrastive_by_hand():
    prototypes, known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]), torch.tensor([True, True, False])
    features, targets = torch.tensor([E1, E2, E1]), torch.tensor([0, 0, 2])
    # Row 0: own 1, other 0; row 1: own 0, other 1; row 2's class has no prototype.
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    loss = prototype_contrastive(unit(features), targets, prototypes, known, 0.5)
    assert loss.item() == pytest.approx((right + wrong) / 2, rel=1e-6)


def test_prototype_distance_by_hand():
    prototypes, known = torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.tensor([True, True])
    loss = prototype_distance(unit(torch.tensor([E1, E2, E2])), torch.tensor([0, 1, -1]), prototypes, known)
    assert loss.item() == pytest.approx((0 + 0.25) / 2)


@pytest.mark.parametrize("loss", ["batch", "prototypes", "distance"])
def test_rows_that_are_left_out_have_no_influence_and_no_gradient(loss):
    def of(features, targets):
        prototypes, known, features = torch.eye(3), torch.ones(3, dtype=torch.bool), unit(features)
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
    total = supervised_contrastive(unit(features), nothing, 0.5) + prototype_contrastive(
        unit(features), nothing, torch.zeros(2, 2), torch.zeros(2, dtype=torch.bool), 0.5
    )
    total.backward()
    assert total.item() == 0
    assert torch.isfinite(features.grad).all()
