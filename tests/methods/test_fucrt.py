from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fedunlearn.federation import wire
from fedunlearn.federation.objective import task_loss
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.contrastive import prototype_contrastive, supervised_contrastive
from fedunlearn.methods.fucrt import FUCRT, FUCRTServer, class_sums, objective
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import ClassOutputs

PLAN = StageSpec("unlearn", 0, "fucrt", TrainConfig(), 4, forget_classes=(1,))
FEATURES = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 2, 2, 3, 0, 3])
OUTPUTS = ClassOutputs(FEATURES, LOGITS)
BATCH = Batch({}, TARGETS, torch.ones(6))
SHARED = {"prototypes": torch.randn(4, 3), "known": torch.tensor([1, 0, 1, 1], dtype=torch.uint8)}


@pytest.fixture
def told(make_federation, context_of):
    """What a client knows in a round in which the server shared those prototypes."""
    return context_of(make_federation().models.fresh(0), SHARED)


def test_the_loss_is_the_weighted_sum_of_its_three_terms(told):
    settings = FUCRT(local_weight=0.3, global_weight=0.7, local_temperature=0.2, global_temperature=0.4)
    known = SHARED["known"].bool()
    expected = (
        task_loss(OUTPUTS, BATCH, told)
        + 0.3 * supervised_contrastive(FEATURES, TARGETS, 0.2)
        + 0.7 * prototype_contrastive(FEATURES, TARGETS, SHARED["prototypes"], known, 0.4)
    )
    torch.testing.assert_close(objective(settings, PLAN).loss(OUTPUTS, BATCH, told), expected)


def test_weights_of_zero_leave_relabelling(told):
    work = objective(FUCRT(local_weight=0, global_weight=0), PLAN)
    assert torch.equal(work.loss(OUTPUTS, BATCH, told), task_loss(OUTPUTS, BATCH, told))
    assert work.uploads(None, None, told) == {}  # no prototypes travel


def test_distance_is_another_global_loss(told):
    one = objective(FUCRT(local_weight=0), PLAN).loss(OUTPUTS, BATCH, told)
    other = objective(FUCRT(local_weight=0, global_loss="distance"), PLAN).loss(OUTPUTS, BATCH, told)
    assert one.item() != pytest.approx(other.item())


def test_rows_of_weight_zero_do_not_matter(told):
    longer = ClassOutputs(torch.cat([FEATURES, torch.full((2, 3), 7.0)]), torch.cat([LOGITS, torch.full((2, 4), 7.0)]))
    batch = Batch({}, torch.cat([TARGETS, torch.tensor([2, 0])]), torch.tensor([1.0] * 6 + [0.0] * 2))
    work = objective(FUCRT(), PLAN)
    torch.testing.assert_close(work.loss(longer, batch, told), work.loss(OUTPUTS, BATCH, told))


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
