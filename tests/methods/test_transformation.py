from dataclasses import replace

import pytest
import torch

from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.transformation import ORIGINAL, Selection, elect, local_set, transformed_labels, vote
from fedunlearn.settings.config import TrainConfig

PLAN = StageSpec("unlearn", 0, "relabel", TrainConfig(), 4, forget_classes=(1,))

# Forget class 1 of 4. Runners-up of the three correctly classified rows: class 0 (0.3), class 2 (0.4), class 0 (0.2).
# The last row is misclassified and must not count. Sums: class 0 0.5, class 2 0.4; shares 5/9 and 4/9.
PROBABILITIES = torch.tensor([[0.3, 0.6, 0.1, 0.0], [0.0, 0.5, 0.4, 0.1], [0.2, 0.7, 0.1, 0.0], [0.0, 0.1, 0.1, 0.8]])
LABELS = torch.ones(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("on", "threshold", "members"),
    [
        ("share", 0.2, [0, 2]),
        ("share", 0.5, [0]),
        ("share", 0.6, []),
        ("sum", 0.45, [0]),
        ("sum", 0.39, [0, 2]),
    ],
)
def test_local_set_by_hand(on, threshold, members):
    selection = Selection(threshold=threshold, threshold_on=on)
    assert local_set(PROBABILITIES, LABELS, PLAN.retain_classes, selection).nonzero()[:, 0].tolist() == members


def test_the_second_highest_is_looked_for_among_retain_classes():
    chosen = local_set(PROBABILITIES, LABELS, (2, 3), Selection())
    assert chosen.nonzero()[:, 0].tolist() == [2]  # class 0 is forgotten as well


def test_without_a_correct_sample_the_set_is_empty():
    assert not local_set(PROBABILITIES[3:], LABELS[3:], PLAN.retain_classes, Selection()).any()


def ballot(*sets, classes=4):
    sizes, votes = torch.zeros(1, classes + 1), torch.zeros(1, classes)
    for members in sets:
        sizes[0, len(members)] += 1
        votes[0, list(members)] += 1
    return {"sizes": sizes, "votes": votes}


def elected(ballots, selection=None, spec=PLAN):
    return [row.nonzero()[:, 0].tolist() for row in elect(ballots, selection or Selection(), spec)]


def test_the_size_is_the_mode_and_the_members_have_most_votes():
    assert elected(ballot({0}, {0, 2}, {2, 3})) == [[0, 2]]  # sizes 1, 2, 2; votes 2, 2, 1
    assert elected(ballot({0}, {3}, {2, 3})) == [[3]]


def test_ties_go_to_the_smaller_set_and_the_lower_class():
    assert elected(ballot({3}, {0, 2})) == [[0]]


def test_when_all_abstain_every_retain_class_is_allowed():
    assert elected(ballot()) == [[0, 2, 3]]
    assert elected(ballot({0}), Selection(vote="sample")) == [[0, 2, 3]]


def test_pooled_sets_serve_all_forgotten_classes():
    spec = replace(PLAN, forget_classes=(1, 3))
    assert elected(ballot({0}), Selection(sets="pooled"), spec) == [[0], [0]]


def test_ballots_add_up_and_small_clients_abstain(make_federation):
    federation = make_federation(clients=2)
    model = federation.models.fresh(0)
    spec = PLAN
    held = [int((federation.client(k).targets == 1).sum()) for k in range(2)]
    selection = Selection(min_samples=max(held))
    assert all(not vote(model, federation.client(k), selection, spec)["sizes"].any() for k in range(2))
    one = vote(model, federation.client(0), Selection(min_samples=0, threshold=0.0), spec)
    assert one["sizes"].sum() <= 1 and one["votes"].max() <= 1


def test_labels_move_to_the_most_probable_allowed_class(make_federation):
    federation = make_federation(clients=1)
    model, client = federation.models.fresh(0), federation.client(0)
    allowed = torch.tensor([[1, 0, 0, 1]], dtype=torch.uint8)
    labels = transformed_labels(PLAN, model, client, {"allowed": allowed})
    logits = model(client.inputs(torch.arange(len(client))))
    expected = torch.where(logits[:, 0] >= logits[:, 3], 0, 3)
    assert torch.equal(labels[client.forget], expected[client.forget])
    assert torch.equal(labels[~client.forget], client.targets[~client.forget])


def test_each_forgotten_class_moves_inside_its_own_set(make_federation):
    federation = make_federation(clients=1, forget=(3, 1))
    model, client = federation.models.fresh(0), federation.client(0)
    spec = replace(PLAN, forget_classes=(3, 1))  # row 0 is about class 3, whatever the order of the numbers
    allowed = torch.tensor([[0, 0, 1, 0], [1, 0, 0, 0]], dtype=torch.uint8)
    labels = transformed_labels(spec, model, client, {"allowed": allowed})
    assert set(labels[client.targets == 3].tolist()) == {2}
    assert set(labels[client.targets == 1].tolist()) == {0}


def test_relabelling_once_uses_the_original_model(make_federation):
    federation = make_federation(clients=1)
    original, current, client = federation.models.fresh(0), federation.models.fresh(1), federation.client(0)
    shared = {"allowed": torch.tensor([[1, 0, 1, 1]], dtype=torch.uint8)}
    by_original = transformed_labels(PLAN, original, client, shared)
    sent_along = shared | {ORIGINAL + name: value for name, value in original.state_dict().items()}
    assert torch.equal(transformed_labels(PLAN, current, client, sent_along), by_original)
    assert not torch.equal(transformed_labels(PLAN, current, client, shared), by_original)
