"""PCV: the best gamma against brute force, the pseudo splits, and a server that keeps its model."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedunlearn.engines.base import Progress
from fedunlearn.repair.pseudo_classes import PseudoClasses, best_gamma, pretended, takes_part


def right(logits, targets, hidden, gamma):
    """(samples that are right, those of hidden classes among them) with gamma added to the hidden logits."""
    hit = (logits.double() + gamma * hidden).argmax(1) == targets
    return int(hit.sum()), int(hit[hidden[targets]].sum())


def test_gamma_by_hand():
    hidden = torch.tensor([False, False, True])
    logits = torch.tensor([[3.0, 0, 0], [0, 5, 1], [2, 0, 1], [9, 0, 8]])
    targets = torch.tensor([0, 1, 2, 2])  # thresholds 3 and 4 to keep, 1 and 1 to win
    assert float(best_gamma(logits, targets, hidden, least=0)) == 2
    assert float(best_gamma(logits, torch.tensor([0, 1, 0, 0]), hidden, least=0)) == 0, (
        "nothing to win: nothing is added"
    )
    only = torch.tensor([[1.0, 0, 0], [0, 0, -4], [0, 1, 0]])
    assert float(best_gamma(only, torch.tensor([0, 2, 1]), hidden, least=0)) == 0, "two right at 0, one at 5"
    assert float(best_gamma(only, torch.tensor([0, 2, 1]), hidden, least=1)) == 5, "above the only threshold that wins"


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 25), st.integers(0, 5))
@example(4022, 25, 4)  # thresholds that differ by a rounding error
def test_no_gamma_is_better(seed, samples, least):
    stream = np.random.default_rng(seed)
    logits = torch.from_numpy(stream.normal(size=(samples, 4)).round(1))
    targets = torch.from_numpy(stream.integers(0, 4, samples))
    targets[0], hidden = 0, torch.tensor([True, False, True, False])
    found = float(best_gamma(logits, targets, hidden, least))
    grid = {gamma: right(logits, targets, hidden, gamma) for gamma in np.arange(-9.05, 9, 0.1).tolist()}
    most = max(won for _, won in grid.values())
    total, won = right(logits, targets, hidden, found)
    assert won >= min(least, most)
    assert total == max(total for total, won in grid.values() if won >= min(least, most))


def test_a_client_pretends_to_lack_the_smaller_half_of_its_own_classes(skewed, brief):
    federation = skewed([0, 1, 2, 4], [0, 3, 5], [0, 2, 3, 4, 5], [3, 3], classes=6).retaining()
    spec = brief("pseudo_classes", federation)
    halves = [pretended(federation.client(0), spec, split).nonzero()[:, 0].tolist() for split in range(1, 9)]
    assert all(len(half) == 1 and half[0] in (0, 2, 4) for half in halves) and len({tuple(h) for h in halves}) > 1
    assert halves[2] == pretended(federation.client(0), spec, 3).nonzero()[:, 0].tolist(), "the same when asked again"
    assert [takes_part(federation.client(k), spec) for k in range(4)] == [True, True, False, False]


def test_the_server_keeps_its_model_and_averages_over_splits(skewed, mend, monkeypatch):
    from fedunlearn.repair import pseudo_classes

    federation = skewed([0, 1, 2], [0, 2, 3], [0, 2, 3])
    offers = {1: [3.0], 2: [5.0], 3: [-2.0]}
    lacking = torch.tensor([False, False, False, True])

    def offer(spec, model, client, context):
        gamma = torch.tensor(offers[context.round][0], dtype=torch.float64)
        mine = lacking if client.number == 0 else torch.zeros_like(lacking)
        return pseudo_classes.offered(gamma, client, mine)

    monkeypatch.setattr(pseudo_classes, "offer", offer)
    model = federation.models.fresh(0).state_dict()
    seen = mend("pseudo_classes", federation, begin=Progress(model))
    for progress, gamma in zip(seen, (0.0, 3.0, 4.0, 2.0), strict=True):
        expected = {**model, "head.bias": (model["head.bias"].double() + gamma * lacking).float()}
        assert all(torch.equal(progress.model[name], value) for name, value in expected.items())
    assert seen[-1].notes == {"gamma": {"3": 2.0}}
    resumed = mend("pseudo_classes", federation, begin=seen[1])
    assert torch.equal(resumed[-1].model["head.bias"], seen[-1].model["head.bias"])
    # 3 rounds to 3 clients: a model down, and no model up
    down, up = seen[-1].cost["bytes_down"], seen[-1].cost["bytes_up"]
    assert down == 3 * 3 * sum(value.nbytes for value in model.values()) and up == 3 * 3 * 2 * 4 * 8


def test_a_client_alone_brings_back_what_it_hides(skewed, mend):
    federation = skewed([0, 2, 3], [0, 2, 3], [0, 2, 3, 4], classes=5)
    seen = mend("pseudo_classes", federation, PseudoClasses(splits=2, local_epochs=8, lr=0.2))
    assert list(seen[-1].notes["gamma"]) == ["4"], "only what some client lacks"
    assert seen[-1].notes["gamma"]["4"] > 0, "training on some classes suppresses the others"


@pytest.mark.parametrize("forget", [(1,), (0, 2)])
def test_without_skew_nothing_changes(make_federation, mend, forget):
    federation = make_federation(clients=2, classes=4, forget=forget)
    model = federation.models.fresh(0).state_dict()
    after = mend("pseudo_classes", federation, begin=Progress(model))[-1]
    assert all(torch.equal(after.model[name], value) for name, value in model.items()) and not after.notes
