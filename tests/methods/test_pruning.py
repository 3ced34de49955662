"""Class-discriminative pruning: TF-IDF by hand, which filters go, and that they stay away."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.cli import command_line
from fedunlearn.data.types import Sample
from fedunlearn.engines.base import Progress
from fedunlearn.errors import RunError
from fedunlearn.federation import wire
from fedunlearn.federation.federation import open_federation
from fedunlearn.federation.method import NoSettings
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.pruning import (
    KEPT,
    Pruning,
    PruningServer,
    convolutions,
    masked,
    most_telling,
    of_each_layer,
    of_the_model,
    recorded,
    report_answers,
    tf_idf,
)
from fedunlearn.models.base import Network, build
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig

CONF = Path(__file__).parents[2] / "conf"
SMALL = ["data.limit=500", "partition.clients=4", "partition.alpha=1", "model.width=8", "device=cpu"]
PACE = TrainConfig(rounds=2, local_epochs=1, batch_size=20, lr=0.05, momentum=0.9, weight_decay=5e-4)


def test_tf_idf_by_hand():
    """Three classes and three filters; row means are 2, 2 and 1.

    Filter 0 is above its row's mean in every class, filter 1 in class 1, filter 2 in class 2. With |U| = 3 the
    rarities are log(4/4), log(4/2), log(4/2); for class 1 the frequencies are 2/6, 4/6, 0.
    """
    strength = torch.tensor([[4.0, 1.0, 1.0], [2.0, 4.0, 0.0], [1.0, 0.0, 2.0]])
    rows = strength.mean(1, keepdim=True)
    scores = tf_idf(strength, rows, strength[1])
    torch.testing.assert_close(scores, torch.tensor([0.0, 4 / 6 * np.log(2), 0.0], dtype=torch.float32))
    assert tf_idf(strength, rows, torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_tf_idf_over_classes_by_hand():
    """The same answers; column means are 7/3, 5/3 and 1.

    Filter 0 reaches its mean in class 0, filter 1 in class 1, filter 2 in classes 0 and 2: the rarities are log(4/2),
    log(4/2), log(4/3); for class 1 the frequencies are 2/6, 4/6, 0.
    """
    strength = torch.tensor([[4.0, 1.0, 1.0], [2.0, 4.0, 0.0], [1.0, 0.0, 2.0]])
    scores = tf_idf(strength, strength.mean(0, keepdim=True), strength[1])
    expected = torch.tensor([2 / 6 * np.log(2), 4 / 6 * np.log(2), 0.0], dtype=torch.float32)
    torch.testing.assert_close(scores, expected)


def test_a_share_of_the_model_is_one_threshold():
    scores = {"a": torch.tensor([0.1, 0.5]), "b": torch.tensor([0.6, 0.7, 0.0, 0.2])}
    assert {name: chosen.tolist() for name, chosen in of_the_model(scores, 0.5).items()} == {
        "a": [False, True], "b": [True, True, False, False]
    }  # fmt: skip
    assert of_each_layer(scores, 0.01)["a"].tolist() == [False, True]
    assert not of_the_model(scores, 0.01)["a"].any()


def test_the_highest_scores_are_pruned():
    scores = torch.tensor([0.1, 0.5, 0.3, 0.5, 0.0])
    assert most_telling(scores, 0.6).nonzero()[:, 0].tolist() == [1, 2, 3]
    assert most_telling(scores, 0.01).nonzero()[:, 0].tolist() == [1]  # at least one; the lower number of two
    assert most_telling(scores, 0.99).nonzero()[:, 0].tolist() == [0, 1, 2, 3]  # but none that says nothing


class OneLayer(nn.Module):
    """A 1×1 convolution to three filters with weights 1, −1 and 2, averaged over the map."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1, bias=False)
        self.conv.weight.data = torch.tensor([1.0, -1.0, 2.0]).view(3, 1, 1, 1)

    def forward(self, x):
        return self.conv(x).relu().mean((2, 3))


def test_answers_are_means_of_the_positive_part_by_class(make_federation):
    client = make_federation(clients=2).client(0)
    model = Network(OneLayer(), nn.Linear(3, 4))
    answers = report_answers(model, client, Pruning(), StageSpec("unlearn", 0, "pruning", TrainConfig(), 5))
    assert answers["holders"].tolist() == [1, 1, 1, 1, 0]
    images = client.inputs(torch.arange(len(client)))["images"]
    for label in range(4):
        own = images[client.targets == label]
        expected = torch.stack([own.clamp_min(0).mean(), (-own).clamp_min(0).mean(), 2 * own.clamp_min(0).mean()])
        torch.testing.assert_close(answers["encoder.conv"][label], expected)
    assert not answers["encoder.conv"][4].any()
    assert not model.encoder.conv._forward_hooks


ARCHITECTURES = [
    ("cnn", {"norm": "none"}, (1, 8, 8), 2, 0),
    ("cnn", {"norm": "batch"}, (1, 8, 8), 2, 2),
    ("cnn", {"norm": "group"}, (1, 8, 8), 2, 2),
    ("lenet", {}, (1, 28, 28), 2, 0),
    ("resnet18", {"norm": "batch"}, (3, 8, 8), 20, 20),
    ("resnet18", {"norm": "group"}, (3, 8, 8), 20, 20),
]


@pytest.mark.parametrize(("name", "settings", "shape", "count", "norms"), ARCHITECTURES)
def test_a_pruned_filter_says_nothing_in_any_architecture(name, settings, shape, count, norms):
    chosen = Choice(name, registry.find("model", name).settings(**settings))
    model = build(chosen.name, chosen.settings, Sample(shape), lambda width: nn.Linear(width, 10), 0).eval()
    for module in model.modules():  # as after training: no normalisation is neutral
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.normal_(module.bias)
    layers = convolutions(model)
    assert len(layers) == count
    assert sum(layer.norm is not None for layer in layers.values()) == norms
    state = model.state_dict()
    kept = torch.tensor([0, 1, 0, 1], dtype=torch.uint8)
    masks = {
        KEPT + entry: kept.repeat(len(state[entry]))[: len(state[entry])]
        for layer in layers.values()
        for entry in layer.tensors(state)
    }
    model.load_state_dict({**state, **masked(dict(model.named_parameters()), masks)})
    with recorded(model) as outputs, torch.no_grad():
        model({"images": torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))})
    for values in outputs.values():
        silent = values[0].sum(0) == 0
        assert silent[::2].all()
        assert not silent.all()


@pytest.fixture(scope="module")
def digits(play):
    """Four clients with digits, and a model that has learnt them."""
    federation = open_federation(command_line.read([*SMALL, "request.classes=[3]"], CONF))
    original = play(federation, "fedavg", NoSettings(), TrainConfig(rounds=8, batch_size=10))[-1].model
    return federation, original


def test_pruned_filters_stay_zero_while_the_others_train(digits, play):
    federation, original = digits
    seen = play(federation, "pruning", Pruning(share=0.5), PACE, Progress(original))
    pruned = seen[0].notes["pruned"]
    assert [len(pruned[name]) for name in ("encoder.0", "encoder.3")] == [4, 8]
    for name, gone in pruned.items():
        kept = np.setdiff1d(np.arange(len(original[f"{name}.weight"])), gone)
        for kind in ("weight", "bias"):
            start, end = (progress.model[f"{name}.{kind}"] for progress in (seen[0], seen[-1]))
            assert not start[gone].any()
            assert not end[gone].any()
            assert torch.equal(start[kept], original[f"{name}.{kind}"][kept])
            assert not torch.equal(end[kept], start[kept])
    assert torch.equal(seen[0].model["head.weight"], original["head.weight"])


def test_pruning_forgets_more_than_fine_tuning_alone_and_keeps_the_rest(digits, play):
    federation, original = digits
    pace = TrainConfig(rounds=4, batch_size=20, lr=0.05)
    pruned, tuned = (
        np.array([entry["scores"] for entry in play(federation, *method, pace, Progress(original))[-1].history])
        for method in (("pruning", Pruning(share=0.5)), ("finetune", NoSettings()))
    )
    assert pruned[0, 3] < tuned[0, 3]
    assert pruned[1:, 3].mean() < tuned[1:, 3].mean() - 0.15
    assert np.delete(pruned[-1], 3).mean() > 0.75


class Answering:
    """Clients that have prepared answers, one for every time they are asked."""

    def __init__(self, *answers):
        self.answers, self.models = list(answers), []

    def total(self, query, model):
        self.models.append(model["encoder.conv.weight"].flatten().tolist())
        return self.answers.pop(0)


def one_layer_server(forget, share=0.3):
    spec = StageSpec("unlearn", 0, "pruning", TrainConfig(), 3, forget_classes=forget)
    server = PruningServer(Pruning(share=share), spec, wire.by_reference, torch.device("cpu"))
    server.new_model = lambda seed: Network(OneLayer(), nn.Linear(3, 3))
    return server


def test_classes_are_pruned_one_by_one_each_on_what_the_last_one_left():
    first = torch.tensor([[4.0, 1.0, 1.0], [2.0, 4.0, 0.0], [1.0, 0.0, 2.0]])
    second = torch.tensor([[4.0, 0.0, 1.0], [2.0, 0.0, 0.0], [1.0, 0.0, 2.0]])
    holders = torch.tensor([1.0, 1.0, 1.0])
    clients = Answering(
        {"encoder.conv": first, "holders": holders}, {"encoder.conv": second * 2, "holders": holders * 2}
    )
    server = one_layer_server((1, 2))
    model = server.prepare(Network(OneLayer(), nn.Linear(3, 3)).state_dict(), clients)
    assert clients.models == [[1.0, -1.0, 2.0], [1.0, 0.0, 2.0]]
    assert model["encoder.conv.weight"].flatten().tolist() == [1.0, 0.0, 0.0]
    assert server.notes["pruned"] == {"encoder.conv": [1, 2]}
    assert server.shared[KEPT + "encoder.conv.weight"].tolist() == [1, 0, 0]


def test_classes_that_nobody_holds_are_no_documents():
    """Without class 2, rarities are log(3/3), log(3/2), log(3/1) and class 1's frequencies 0, 5/6, 1/6."""
    strength = torch.tensor([[3.0, 0.0, 1.0], [0.0, 5.0, 1.0], [0.0, 0.0, 0.0]])
    clients = Answering({"encoder.conv": strength, "holders": torch.tensor([1.0, 1.0, 0.0])})
    server = one_layer_server((1,))
    server.prepare(Network(OneLayer(), nn.Linear(3, 3)).state_dict(), clients)
    assert server.notes["pruned"] == {"encoder.conv": [1]}


def test_a_model_without_convolutions_is_refused(make_federation, play):
    with pytest.raises(RunError, match="prunes the filters of convolutions that train, and this model has none"):
        play(make_federation(), "pruning", Pruning())


def test_only_classes_can_be_forgotten():
    assert registry.find("method", "pruning").levels == {"class"}
