"""FUSED: critical layers by hand, masks, frozen entries, traffic, and a whole stage."""

from dataclasses import replace

import pytest
import torch
from flwr.app import RecordDict

from fedunlearn.errors import RequestError
from fedunlearn.federation import sgd, wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.fused import MASK, Fused, SparseServer, check, movement, objective, only_adapters, random_mask
from fedunlearn.models.flat import Layout
from fedunlearn.settings.config import TrainConfig

TRAINING = TrainConfig(local_epochs=3, batch_size=10, lr=0.1)
PLAN = StageSpec("unlearn", 0, "fused", TRAINING, 4, forget_classes=(1,))


class Pair(torch.nn.Module):
    """Three layers with names as in a real model, and a buffer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = torch.nn.Linear(2, 1), torch.nn.Linear(1, 1), torch.nn.Linear(1, 2, bias=False)
        self.register_buffer("seen", torch.zeros(1))


def server(**settings):
    strategy = SparseServer(Fused(**settings), PLAN, wire.by_reference, torch.device("cpu"))
    strategy.new_model = lambda seed: Pair()
    return strategy


def constant(value):
    return {name: torch.full_like(tensor, value) for name, tensor in Pair().state_dict().items()}


def test_movement_is_the_sum_of_absolute_differences_of_a_layer():
    moved = constant(0.0)
    moved["a.weight"] = torch.tensor([[1.0, -2.0]])
    moved["a.bias"] = torch.tensor([0.5])
    moved["c.weight"] = torch.tensor([[-4.0], [0.0]])
    names = [name for name, _ in Pair().named_parameters()]
    assert movement(moved, constant(0.0), names) == {"a": 3.5, "b": 0.0, "c": 4.0}


def test_the_critical_layers_moved_most_in_the_mean_over_samples():
    strategy = server(layers=1, density=1.0)
    start = strategy.before_round(1, constant(0.0))
    first, second = constant(0.0), constant(0.0)
    first["a.bias"] += 3  # a: 1 · 3
    second["b.bias"] += 2  # b: 2 · 2
    strategy.on_client_model(0, first, 1.0)
    strategy.on_client_model(1, second, 2.0)
    assert strategy.after_round(1, constant(9.0)) is start  # what the round learnt is dropped
    assert strategy.notes == {"critical_layers": ["b"], "adapter_entries": 2}
    assert sorted(strategy.shared) == ["mask/b.bias", "mask/b.weight"]


def test_later_rounds_change_masked_parameters_and_no_statistics():
    strategy = server(layers=1)
    strategy.shared = {"mask/b.weight": torch.ones(1, 1, dtype=torch.uint8)}
    strategy.before_round(2, constant(1.0))
    strategy.on_client_model(0, constant(5.0), 1.0)
    after = strategy.after_round(2, constant(5.0))
    assert {name for name, value in after.items() if not torch.equal(value, constant(1.0)[name])} == {"b.weight"}
    assert after["b.weight"].item() == 5
    assert list(strategy.shared) == ["mask/b.weight"]


def test_masks_are_random_reproducible_and_about_as_dense_as_asked():
    mask = random_mask(torch.Size([100, 100]), 0.2, PLAN, "b.weight")
    assert abs(mask.float().mean().item() - 0.2) < 0.02  # five standard deviations
    assert torch.equal(mask, random_mask(torch.Size([100, 100]), 0.2, PLAN, "b.weight"))
    assert not torch.equal(mask, random_mask(torch.Size([100, 100]), 0.2, PLAN, "c.weight"))
    assert not torch.equal(mask, random_mask(torch.Size([100, 100]), 0.2, replace(PLAN, seed=1), "b.weight"))


def test_everything_moves_while_there_are_no_adapters_and_then_only_they_do(context_of):
    model = torch.nn.ParameterDict({"a": torch.zeros(2), "b": torch.zeros(2)})
    values = {"a": torch.ones(2), "b": torch.ones(2)}
    assert only_adapters(values, context_of(model)) is values
    kept = only_adapters(values, context_of(model, {"mask/b": torch.tensor([1, 0], dtype=torch.uint8)}))
    assert kept["a"].tolist() == [0, 0] and kept["b"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "level", "count"),
    [("leave_out", "class", 36), ("random", "class", 48), (None, "class", 48), (None, "client", 36)],
)
def test_training_moves_masked_entries_only(labels, level, count, make_federation, context_of):
    federation = make_federation(clients=1)
    client, model = federation.client(0), federation.models.fresh(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mask = random_mask(before["encoder.1.weight"].shape, 0.3, PLAN, "w")
    work = objective(Fused(forget_labels=labels), replace(PLAN, level=level))
    context = context_of(model, {MASK + "encoder.1.weight": mask})
    outcome = sgd.train(model, client, work, context, TRAINING, torch.Generator())
    assert outcome.trained == count
    moved = {name: value != before[name] for name, value in model.state_dict().items()}
    assert torch.equal(moved.pop("encoder.1.weight"), mask.bool())
    assert not any(changed.any() for changed in moved.values())


def test_traffic_is_the_whole_model_first_and_then_the_adapters():
    strategy = server(layers=1, density=1.0)
    strategy.layout = Layout.of(constant(1.0))
    vectors = strategy.flat(constant(1.0))
    message = RecordDict({"model": wire.by_reference(vectors), "shared": wire.by_reference({})})
    assert strategy.payload(message) == 8 * 4  # seven parameters and the buffer
    strategy.before_round(1, constant(0.0))
    strategy.on_client_model(0, {**constant(0.0), "a.bias": torch.ones(1)}, 1.0)
    strategy.after_round(1, constant(0.0))
    assert strategy.payload(message) == 3 * 4


def test_one_round_is_too_few():
    class Config:
        unlearn = type("Unlearn", (), {"rounds": 1})

    with pytest.raises(RequestError, match=r"needs unlearn.rounds=2 or more.*not 1"):
        check(Fused(), Config)
