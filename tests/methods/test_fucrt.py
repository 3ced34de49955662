import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fedunlearn.federation import sgd, wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.fucrt import FUCRT, FUCRTServer, class_sums, objective
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import ClassOutputs

PLAN = StageSpec("unlearn", 0, "fucrt", TrainConfig(), 4, forget_classes=(1,))
# Two samples of class 0 and one of class 1; lengths must not matter. A third prototype is not known yet.
FEATURES = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.0, 3.0]])
LOGITS = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [0.0, math.log(3)]])
OUTPUTS = ClassOutputs(FEATURES, LOGITS)
BATCH = Batch({}, torch.tensor([0, 0, 1]), torch.ones(3))
SHARED = {
    "prototypes": torch.tensor([[1.0, 0.0], [0.0, 0.5], [9.0, 9.0]]),
    "known": torch.tensor([1, 1, 0], dtype=torch.uint8),
}
# The probabilities of the labels are 1/4, 1/2 and 3/4.
CROSS_ENTROPY = (math.log(4) + math.log(2) + math.log(4 / 3)) / 3
# Anchors 0 and 1 have each other at a cosine of 1 and the third at 0; the third is the only one of its class.
LOCAL = math.log(1 + math.exp(-1 / 0.5))  # at T = 0.5
# Rows 0 and 1: own prototype at 1, the other at 0. Row 2: own at 0.5, the other at 0.
GLOBAL = (2 * math.log(1 + math.exp(-1 / 0.25)) + math.log(1 + math.exp(-0.5 / 0.25))) / 3  # at T = 0.25
DISTANCE = (0 + 0 + 0.5**2) / 3


@pytest.fixture
def loss(make_federation, context_of):
    """`loss(settings, …)`: of a batch, in a round in which the server shared those prototypes."""
    told = context_of(make_federation().models.fresh(0), SHARED)

    def of(settings, outputs=OUTPUTS, batch=BATCH):
        return objective(settings, PLAN).loss(outputs, batch, told).item()

    return of


def test_the_loss_is_the_weighted_sum_of_its_three_terms(loss):
    settings = FUCRT(local_weight=0.3, global_weight=0.7, local_temperature=0.5, global_temperature=0.25)
    assert loss(settings) == pytest.approx(CROSS_ENTROPY + 0.3 * LOCAL + 0.7 * GLOBAL, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (FUCRT(local_weight=0, global_weight=0), CROSS_ENTROPY),
        (FUCRT(local_weight=2, global_weight=0), CROSS_ENTROPY + 2 * LOCAL),
        (FUCRT(local_weight=0, global_weight=3, global_temperature=0.25), CROSS_ENTROPY + 3 * GLOBAL),
        (FUCRT(local_weight=0, global_weight=3, global_loss="distance"), CROSS_ENTROPY + 3 * DISTANCE),
    ],
)
def test_each_term_by_itself(loss, settings, expected):
    assert loss(settings) == pytest.approx(expected, rel=1e-6)


def test_no_prototypes_travel_where_none_are_needed():
    assert objective(FUCRT(global_weight=0), PLAN).uploads(None, None, None) == {}


def test_rows_of_weight_zero_do_not_matter(loss):
    longer = ClassOutputs(torch.cat([FEATURES, torch.full((2, 2), 7.0)]), torch.cat([LOGITS, torch.full((2, 2), 7.0)]))
    batch = Batch({}, torch.tensor([0, 0, 1, 1, 0]), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]))
    settings = FUCRT(local_weight=0.3, global_weight=0.7, local_temperature=0.5, global_temperature=0.25)
    assert loss(settings, longer, batch) == pytest.approx(CROSS_ENTROPY + 0.3 * LOCAL + 0.7 * GLOBAL, rel=1e-6)


def test_class_sums_of_clients_add_up_to_those_of_all_data(make_federation):
    parts, whole = make_federation(clients=3), make_federation(clients=1)
    model = parts.models.fresh(0)
    split = [class_sums(FUCRT(), PLAN, model, parts.client(k), {}) for k in range(3)]
    together = class_sums(FUCRT(), PLAN, model, whole.client(0), {})
    torch.testing.assert_close(sum(s["sums"] for s in split), together["sums"])
    assert sum(s["counts"] for s in split).tolist() == together["counts"].tolist() == [12, 0, 12, 12]


def test_prototypes_are_means_of_unit_features(make_federation):
    federation = make_federation(clients=1)
    model, client = federation.models.fresh(0), federation.client(0)
    z = F.normalize(model.features(client.inputs(torch.arange(len(client)))), dim=1)
    totals = class_sums(FUCRT(), PLAN, model, client, {})
    server = FUCRTServer(FUCRT(), PLAN, wire.by_reference, torch.device("cpu"))
    server.shared = {"prototypes": torch.full((4, 6), 5.0), "known": torch.zeros(4, dtype=torch.uint8)}
    server.on_totals(totals)
    torch.testing.assert_close(server.shared["prototypes"][2], z[client.targets == 2].mean(0))
    assert server.shared["prototypes"][1].tolist() == [5.0] * 6  # nobody holds it: kept
    assert server.shared["known"].tolist() == [1, 0, 1, 1]


def test_prototypes_of_all_count_transformed_samples(make_federation):
    federation = make_federation(clients=1)
    shared = {"allowed": torch.tensor([[1, 0, 0, 0]], dtype=torch.uint8)}
    settings = replace(FUCRT(), prototypes_of="all")
    counts = class_sums(settings, PLAN, federation.models.fresh(0), federation.client(0), shared)["counts"]
    assert counts.tolist() == [24, 0, 12, 12]


TRAINING = TrainConfig(local_epochs=2, batch_size=5, lr=0.1, momentum=0.9, weight_decay=0.01)
TOLD = {
    "prototypes": torch.eye(4, 6),
    "known": torch.ones(4, dtype=torch.uint8),
    "allowed": torch.tensor([[1, 0, 0, 0]], dtype=torch.uint8),
}


def trained_and_uploads(federation, context_of, settings):
    """Client 0's model after training, and what it sends along with it."""
    client, model = federation.client(0), federation.models.fresh(3)
    context, work = context_of(model, TOLD), objective(settings, PLAN)
    outcome = sgd.train(model, client, work, context, TRAINING, torch.Generator().manual_seed(4))
    return model, work.uploads(model, client, replace(context, passes=outcome.passes))


def replayed(federation, context_of, settings):
    """The same training with PyTorch's optimiser; retain samples' features in the last epoch, added up one by one."""
    client, model = federation.client(0), federation.models.fresh(3)
    labels = torch.where(client.forget, 0, client.targets)  # class 0 is all that is allowed
    context, loss = context_of(model, TOLD), objective(settings, PLAN).loss
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    order, sums, counts = torch.Generator().manual_seed(4), torch.zeros(4, 6), torch.zeros(4)
    for epoch in range(2):
        for rows in torch.randperm(len(client), generator=order).split(5):
            batch = Batch(client.inputs(rows), labels[rows], torch.ones(len(rows)))
            said = federation.task.outputs(model, batch.inputs)
            for row, features in zip(rows, said.features.detach(), strict=True):
                if epoch == 1 and not client.forget[row]:
                    sums[client.targets[row]] += F.normalize(features, dim=0)
                    counts[client.targets[row]] += 1
            optimiser.zero_grad()
            loss(said, batch, context).backward()
            optimiser.step()
    return {"sums": sums, "counts": counts}


def test_prototypes_by_passes_are_those_of_the_last_epoch(make_federation, context_of):
    federation, settings = make_federation(clients=1), FUCRT(prototypes_by="passes")
    model, uploads = trained_and_uploads(federation, context_of, settings)
    expected = replayed(federation, context_of, settings)
    torch.testing.assert_close(uploads["sums"], expected["sums"])
    assert uploads["counts"].tolist() == expected["counts"].tolist() == [12, 0, 12, 12]
    by_trained = class_sums(settings, PLAN, model, federation.client(0), TOLD)
    assert not torch.allclose(uploads["sums"], by_trained["sums"]), "the model has moved since"


def test_prototypes_by_passes_of_all_count_transformed_samples(make_federation, context_of):
    settings = FUCRT(prototypes_by="passes", prototypes_of="all")
    _, uploads = trained_and_uploads(make_federation(clients=1), context_of, settings)
    assert uploads["counts"].tolist() == [24, 0, 12, 12]


def test_how_prototypes_are_made_does_not_change_the_training_of_the_round(make_federation, context_of):
    federation = make_federation(clients=1)
    by_trained, uploads = trained_and_uploads(federation, context_of, FUCRT(prototypes_by="trained"))
    by_passes, _ = trained_and_uploads(federation, context_of, FUCRT(prototypes_by="passes"))
    for mine, other in zip(by_trained.parameters(), by_passes.parameters(), strict=True):
        assert torch.equal(mine, other)
    client = federation.client(0)
    rows = (~client.forget).nonzero()[:, 0]
    z = F.normalize(by_trained.eval().features(client.inputs(rows)), dim=1).detach()
    sums = torch.zeros(4, 6).index_add(0, client.targets[rows], z)
    assert torch.equal(uploads["sums"], sums), "by the trained model, bit by bit"


def test_a_client_that_trains_on_nothing_still_has_prototypes(make_federation, context_of):
    federation = make_federation(clients=1)
    federation.parts[:] = [federation.parts[0][-1:]]
    model, uploads = trained_and_uploads(federation, context_of, FUCRT(prototypes_by="passes"))
    assert uploads["counts"].tolist() == [0, 0, 0, 1]
    assert torch.equal(uploads["sums"], class_sums(FUCRT(), PLAN, model, federation.client(0), TOLD)["sums"])


@pytest.mark.parametrize("idle", [FUCRT(prototypes_by="trained"), FUCRT(prototypes_by="passes", global_weight=0)])
def test_nothing_is_kept_where_nobody_reads_it(idle):
    assert objective(idle, PLAN).keep is None
