"""LRA-NPP: relevance counts, the choice of neurons and the edits of the head, by hand."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.data.types import Normaliser
from fedunlearn.errors import RequestError
from fedunlearn.federation import wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.lra_npp import LraNpp, LraNppServer, count_relevant, hidden_weight, most_frequent
from fedunlearn.models.base import Network
from fedunlearn.settings.config import TrainConfig

PLAN = StageSpec("unlearn", 0, "lra_npp", TrainConfig(), 3, forget_classes=(1,))


class Answers:
    """Clients that answer with these counts."""

    def __init__(self, counts):
        self.counts = counts

    def total(self, query, model):
        return {"counts": self.counts}


def edit(counts, spec=PLAN, **settings):
    model = {
        "head.weight": torch.arange(1.0, 13.0).reshape(3, 4),
        "head.bias": torch.ones(3),
        "encoder.w": torch.ones(1),
    }
    server = LraNppServer(LraNpp(**settings), spec, wire.by_reference, torch.device("cpu"))
    server.new_model = lambda seed: Network(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    return model, server.prepare(model, Answers(counts)), server


def test_relevance_is_the_feature_times_the_weight_of_the_predicted_class(make_federation):
    client = make_federation(clients=1, classes=3).client(0)
    model = Network(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    pixels = torch.zeros(len(client), 1, 4, 4, dtype=torch.uint8)
    held = (client.targets == 1).nonzero()[:, 0]
    pixels[held[0]].view(16)[[2, 3, 4]] = torch.tensor([255, 255, 255], dtype=torch.uint8)
    pixels[held[1]].view(16)[[3, 5, 6]] = torch.tensor([100, 200, 255], dtype=torch.uint8)
    client = replace(client, rows=torch.arange(len(client)), raw={"images": pixels}, prepare=Normaliser((0.0,), (1.0,)))
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[0, 5:8] = torch.tensor([9.0, 9.0, 9.0])
        model.head.weight[1, 2:5] = torch.tensor([3.0, 2.0, 1.0])
        model.head.bias.copy_(torch.tensor([0.0, 1.0, -5.0]))
    counts = count_relevant(model, client, LraNpp(images=2, analysed=2 / 16), PLAN)["counts"]
    # image 0: class 1, relevances 3, 2, 1 at 2, 3, 4; image 1: class 0 (wrong, but predicted), 9·200/255 and 9 at 5, 6
    expected = torch.zeros(1, 16, dtype=torch.int32)
    expected[0, [2, 3, 5, 6]] = 1
    assert torch.equal(counts, expected)


def test_histograms_of_clients_add_up_to_the_pooled_one(make_federation):
    settings = LraNpp(images=1000, analysed=0.4)
    split, pooled = make_federation(clients=3), make_federation(clients=1)
    model = split.models.fresh(0)
    spec = replace(PLAN, classes=4, forget_classes=(1, 2))
    parts = [count_relevant(model, split.client(i), settings, spec)["counts"] for i in range(3)]
    whole = count_relevant(model, pooled.client(0), settings, spec)["counts"]
    assert torch.equal(sum(parts), whole)
    assert whole.sum() == 2 * 24  # two neurons for each of 24 images
    assert whole.dtype == torch.int32


def test_a_client_looks_at_no_more_images_than_asked_and_abstains_without_any(make_federation):
    federation = make_federation(clients=1)
    spec = replace(PLAN, classes=4)

    def count(spec):
        counted = count_relevant(federation.models.fresh(0), federation.client(0), LraNpp(images=5), spec)
        return counted["counts"].sum()

    assert count(spec) == 5
    assert count(replace(spec, classes=5, forget_classes=(4,))) == 0


def test_the_most_frequent_neurons_are_chosen_and_never_an_uncounted_one():
    counts = torch.tensor([[3.0, 5.0, 3.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    expected = torch.tensor([[True, True, False, False], [False, False, False, True]])
    assert torch.equal(most_frequent(counts, 0.5), expected)


def test_head_row_cuts_the_paths_to_the_forgotten_class_only():
    model, changed, server = edit(torch.tensor([[4.0, 0.0, 9.0, 1.0]]), perturbed=0.5)
    expected = model["head.weight"].clone()
    expected[1, 0] = expected[1, 2] = 0
    assert torch.equal(changed["head.weight"], expected)
    assert changed["head.bias"] is model["head.bias"] and changed["encoder.w"] is model["encoder.w"]
    assert server.notes["perturbed_neurons"] == {"1": [0, 2]}


def test_head_cols_cuts_them_for_every_class():
    model, changed, _ = edit(torch.tensor([[4.0, 0.0, 9.0, 1.0]]), perturbed=0.5, edit="head_cols")
    assert torch.equal(changed["head.weight"], model["head.weight"] * torch.tensor([0.0, 1.0, 0.0, 1.0]))


def test_each_forgotten_class_has_its_own_path():
    spec = replace(PLAN, forget_classes=(0, 2))
    model, changed, _ = edit(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]]), spec, perturbed=0.25)
    expected = model["head.weight"].clone()
    expected[0, 0] = expected[2, 3] = 0
    assert torch.equal(changed["head.weight"], expected)


def test_noise_is_added_to_the_same_entries_and_only_there():
    model, changed, _ = edit(torch.tensor([[4.0, 0.0, 9.0, 1.0]]), perturbed=0.5, value="gaussian", noise=0.5)
    _, larger, _ = edit(torch.tensor([[4.0, 0.0, 9.0, 1.0]]), perturbed=0.5, value="gaussian", noise=1.0)
    moved = changed["head.weight"] - model["head.weight"]
    assert moved.nonzero().tolist() == [[1, 0], [1, 2]]
    torch.testing.assert_close(larger["head.weight"] - model["head.weight"], 2 * moved)


@pytest.mark.parametrize("way", ["head_row", "head_cols"])
def test_without_any_image_of_the_class_nothing_changes(way):
    model, changed, _ = edit(torch.zeros(1, 4), edit=way)
    assert torch.equal(changed["head.weight"], model["head.weight"])


class Dense(torch.nn.Module):
    """Three inputs, four hidden units as features."""

    def __init__(self):
        super().__init__()
        self.hidden, self.after = torch.nn.Linear(3, 4), torch.nn.ReLU()


def test_fc_rows_also_cuts_the_paths_into_those_neurons():
    model = {"head.weight": torch.ones(3, 4), "encoder.hidden.weight": torch.ones(4, 3)}
    server = LraNppServer(LraNpp(edit="fc_rows", perturbed=0.5), PLAN, wire.by_reference, torch.device("cpu"))
    server.new_model = lambda seed: Network(Dense(), torch.nn.Linear(4, 3))
    changed = server.prepare(model, Answers(torch.tensor([[4.0, 0.0, 9.0, 1.0]])))
    assert changed["encoder.hidden.weight"].tolist() == [[0.0] * 3, [1.0] * 3, [0.0] * 3, [1.0] * 3]
    assert changed["head.weight"].tolist() == [[1.0] * 4, [0.0, 1.0, 0.0, 1.0], [1.0] * 4]


@pytest.mark.parametrize("encoder", [torch.nn.Flatten(), torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())])
def test_fc_rows_needs_a_dense_layer_before_the_head(encoder):
    with pytest.raises(RequestError, match="the dense layer before the head, which this model has none of"):
        hidden_weight(Network(encoder, torch.nn.Linear(4, 3)))
