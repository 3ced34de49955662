"""QuickDrop: gradient matching on small numbers, memory that can be lost, and the two phases."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.data.types import Normaliser
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.federation import wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods import quickdrop
from fedunlearn.methods.quickdrop import (
    DroppingServer,
    QuickDrop,
    count_known,
    distil,
    distilled,
    fresh,
    gradient,
    gradient_distance,
    images_for,
    phase_samples,
    report_distilled,
    to_pixels,
)
from fedunlearn.models.base import Network
from fedunlearn.randomness import torch_stream
from fedunlearn.settings.config import TrainConfig

TRAINING = TrainConfig(rounds=4, local_epochs=2, batch_size=10, lr=0.1)
PLAN = StageSpec("unlearn", 0, "quickdrop", TRAINING, 4, forget_classes=(1,))
FEW = QuickDrop(share=0.2, steps=2, forget_rounds=2, stop_accuracy=0.0)


@pytest.mark.parametrize(
    ("held", "share", "images"), [(500, 0.01, 5), (501, 0.01, 6), (40, 0.01, 2), (1, 0.01, 1), (3, 1.0, 3)]
)
def test_a_class_keeps_its_share_rounded_up_and_at_least_two(held, share, images):
    assert images_for(held, share) == images


def test_distance_is_one_minus_cosine_for_each_output_unit():
    first = [torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]), torch.tensor([5.0])]
    second = [torch.tensor([[2.0, 0.0], [1.0, 0.0], [-3.0, -4.0]]), torch.tensor([-5.0])]
    assert gradient_distance(first, second).item() == pytest.approx(0 + 1 + 2)


def test_pixels_undo_the_normalisation():
    normalise = Normaliser((0.2, 0.5), (0.3, 0.1))
    images = torch.randint(0, 256, (3, 2, 4, 4), dtype=torch.uint8)
    assert torch.equal(to_pixels(normalise.images(images), normalise), images)
    assert to_pixels(torch.full((1, 2, 1, 1), 99.0), normalise).flatten().tolist() == [255, 255]


def test_matching_brings_the_gradient_of_the_images_nearer_to_the_real_one(make_federation, monkeypatch):
    client, model = make_federation(clients=1).client(0), make_federation().models.fresh(0)
    network = fresh(model, torch_stream(1, "network"))
    monkeypatch.setattr(quickdrop, "fresh", lambda model, stream: network)  # a network that stays where it is
    still = QuickDrop(share=0.2, steps=30, image_lr=1e-9, network_lr=1e-9, real_batch=1000)
    apart = [
        distance(network, client, distil(settings, model, client)) for settings in (still, replace(still, image_lr=0.1))
    ]
    assert apart[1] < 0.9 * apart[0]


def distance(network, client, made):
    """Between the gradients of the real and the distilled images, summed over classes."""
    parameters, total = list(network.parameters()), 0.0
    for label in range(4):
        rows = (client.targets == label).nonzero()[:, 0]
        images = client.prepare.images(made["images"][made["labels"] == label])
        pair = [
            gradient(network, x, torch.tensor([label]), parameters) for x in (client.inputs(rows)["images"], images)
        ]
        total += gradient_distance(*pair).item()
    return total


def test_distilled_images_stand_for_every_class_and_stay_the_same(make_federation):
    federation = make_federation()
    client = federation.client(0)
    data = distilled(FEW, federation.models.fresh(0), client)
    counts = client.targets.bincount()
    assert data.targets.bincount().tolist() == [images_for(int(count), 0.2) for count in counts]
    assert torch.equal(data.forget, data.targets == 1)
    assert torch.equal(data.groups, data.targets)
    images = data.raw["images"]
    assert images.dtype == torch.uint8 and data.inputs(torch.arange(2))["images"].shape == (2, 1, 4, 4)
    assert torch.equal(images, distilled(FEW, federation.models.fresh(9), client).raw["images"])
    again = distilled(FEW, federation.models.fresh(9), federation.client(0))  # memory lost
    assert torch.equal(images, again.raw["images"])
    assert not torch.equal(images, distil(FEW, federation.models.fresh(0), replace(client, seed=1))["images"])


def test_a_client_without_data_distils_nothing(make_federation):
    client = make_federation().client(0)
    none = {name: getattr(client, name)[:0] for name in ("rows", "targets", "groups", "forget")}
    nothing = replace(client, **none)
    model = make_federation().models.fresh(0)
    assert len(distilled(FEW, model, nothing)) == 0
    assert report_distilled(model, replace(nothing, memory={}), FEW, PLAN)["samples"] == 0


def test_distilling_leaves_the_model_and_its_statistics_alone(make_federation):
    client = make_federation().client(0)
    blocks = torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU(), torch.nn.Flatten()
    model = Network(torch.nn.Sequential(*blocks), torch.nn.Linear(12, 4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.isfinite(distil(FEW, model, client)["images"].float()).all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [layer.momentum for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)] == [0.1]


def test_the_work_of_distilling_is_counted(make_federation):
    federation = make_federation(clients=1)  # twelve images of each of four classes, three of which stand for them
    done = report_distilled(federation.models.fresh(0), federation.client(0), replace(FEW, real_batch=5), PLAN)
    assert done["images"] == 12
    assert done["samples"] == 2 * (4 * 3 + 4 * 5)


def test_known_images_are_counted_among_the_distilled_forget_images(make_federation):
    federation = make_federation(clients=1)
    model = federation.models.fresh(0)
    model.head.bias.data[1] = 100.0
    counts = count_known(model, federation.client(0), FEW, PLAN)
    assert (counts["right"], counts["held"]) == (3, 3)
    model.head.bias.data[1] = -100.0
    assert count_known(model, federation.client(0), FEW, PLAN)["right"] == 0


def test_each_phase_trains_on_its_own_images(make_federation, context_of):
    federation = make_federation()
    model = federation.models.fresh(0)
    data = distilled(FEW, model, federation.client(0))
    for forgets in (0, 1):
        context = context_of(model, {"forget": torch.tensor(forgets, dtype=torch.uint8)})
        decided = phase_samples(model, data, context)
        assert torch.equal(decided.weights, (data.forget == bool(forgets)).float())
        assert decided.labels is None


class Clients:
    """Clients that know `right` of ten forget images."""

    def __init__(self, right=0):
        self.right = right

    def total(self, query, model):
        if query == "distil":
            return {"samples": torch.tensor(70.0), "images": torch.tensor(7.0)}
        return {"right": torch.tensor(float(self.right)), "held": torch.tensor(10.0)}


def server(spec=PLAN, right=0, **settings):
    dropping = DroppingServer(QuickDrop(**settings), spec, wire.by_reference, torch.device("cpu"))
    dropping.new_model = lambda seed: torch.nn.Linear(1, 1)
    dropping.clients = Clients(right)
    dropping.prepare({}, dropping.clients)
    return dropping


def test_the_ascent_reflects_what_training_did_and_the_recovery_does_not():
    dropping = server(right=0)
    sent = {"weight": torch.tensor([[1.0]]), "bias": torch.tensor([2.0]), "running_mean": torch.tensor([5.0])}
    average = {"weight": torch.tensor([[0.25]]), "bias": torch.tensor([2.5]), "running_mean": torch.tensor([7.0])}
    dropping.before_round(1, sent)
    reflected = dropping.after_round(1, average)
    assert {name: value.item() for name, value in reflected.items()} == {
        "weight": 1.75,
        "bias": 1.5,
        "running_mean": 5.0,
    }
    dropping.before_round(2, reflected)
    assert dropping.after_round(2, average) is average
    assert dropping.cost.samples == 70 and dropping.notes == {"distilled_images": 7, "forget_rounds": 1}


def test_the_ascent_goes_on_while_the_model_knows_too_much_and_ends_at_its_limit():
    dropping = server(right=2, stop_accuracy=0.1, forget_rounds=3)
    for number in (1, 2, 3, 4, 5):
        dropping.before_round(number, {})
        assert dropping.forgets() == (number <= 3)
    dropping = server(right=1, stop_accuracy=0.1, forget_rounds=3)
    dropping.before_round(1, {})
    dropping.before_round(2, {})
    assert not dropping.forgets() and dropping.notes["forget_rounds"] == 1


def test_the_ascent_has_a_pace_of_its_own():
    dropping = server(forget_lr=0.25, forget_epochs=7)
    dropping.before_round(1, {})
    assert dropping.training(1) == replace(TRAINING, lr=0.25, local_epochs=7, momentum=0.0, weight_decay=0.0)
    dropping.before_round(2, {})
    assert dropping.training(2) == TRAINING


@pytest.mark.parametrize(("level", "limit"), [("class", 2), ("client", 1)])
def test_rounds_of_ascent_by_default(level, limit):
    assert server(replace(PLAN, level=level)).limit == limit


def test_images_are_distilled_once_and_a_resumed_stage_ends_with_the_same_bits(make_federation, monkeypatch):
    config = command_line.read([], conf_dir())
    calls = []
    once = quickdrop.distil
    monkeypatch.setattr(quickdrop, "distil", lambda *given: calls.append(given) or once(*given))
    federation = make_federation(clients=3)
    spec = replace(PLAN, settings={"share": 0.2, "steps": 2, "forget_rounds": 2, "stop_accuracy": 0.0})
    states = []
    start = Progress(federation.models.fresh(1).state_dict())
    whole = run_stage(spec, start, 4, federation, config, states.append)
    assert len(calls) == 3
    resumed = run_stage(spec, states[2], 4, federation, config, lambda state: None)
    assert len(calls) == 6
    assert all(torch.equal(value, resumed.model[name]) for name, value in whole.model.items())
    assert any(not torch.equal(value, whole.model[name]) for name, value in start.model.items())
