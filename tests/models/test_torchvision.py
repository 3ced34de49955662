"""Networks of torchvision by name: what is refused, what is left out, and where weights come from."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from fedunlearn.data.types import Sample
from fedunlearn.errors import RequestError
from fedunlearn.models.base import build
from fedunlearn.models.torchvision import TorchvisionSettings, encoder


@pytest.mark.parametrize(
    ("arch", "shape", "sentence"),
    [
        ("mobilenet_v3_smal", (3, 32, 32), "did you mean mobilenet_v3_small"),
        ("googlenet", (3, 224, 224), "no network in torchvision called 'googlenet'"),
        ("squeezenet1_0", (3, 64, 64), "does not end in a linear layer"),
        ("alexnet", (3, 32, 32), "alexnet does not take images of 32x32 pixels"),
        ("vit_b_32", (3, 32, 32), "does not take images of 32x32 pixels: Wrong image height"),
        ("mobilenet_v3_small", (5, 32, 32), "grey or colour images, not 5 channels"),
        ("mobilenet_v3_small", (7,), "is for images"),
    ],
)
def test_what_does_not_fit_is_refused(arch: str, shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        encoder(TorchvisionSettings(arch), shape)


def test_training_draws_nothing_from_the_generator_that_clients_share() -> None:
    network = build(
        "torchvision", TorchvisionSettings("efficientnet_b0"), Sample((1, 16, 16)), lambda d: nn.Linear(d, 4), 0
    )
    network.train()
    images = torch.rand(4, 1, 16, 16)
    before = torch.get_rng_state()
    assert network({"images": images}).shape == (4, 4)
    assert torch.equal(before, torch.get_rng_state())


def test_grey_images_are_shown_in_all_colours() -> None:
    network, _ = encoder(TorchvisionSettings("mobilenet_v3_small"), (1, 16, 16))
    grey = torch.rand(2, 1, 16, 16)
    assert torch.equal(network.eval()(grey), network(grey.repeat(1, 3, 1, 1)))


def test_published_weights_are_read_without_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    published, asked = models.mobilenet_v3_small(weights=None).state_dict(), {}
    weights = models.get_model_weights("mobilenet_v3_small").DEFAULT
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **how: asked.update(how) or published)
    network, _ = encoder(TorchvisionSettings("mobilenet_v3_small", weights="imagenet"), (3, 32, 32))
    assert asked == {"check_hash": True, "weights_only": True}
    first = "features.0.0.weight"
    assert torch.equal(network.network.state_dict()[first], published[first])


def test_weights_that_cannot_be_fetched_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = models.get_model_weights("mobilenet_v3_small").DEFAULT

    def offline(self: object, **how: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(type(weights), "get_state_dict", offline)
    with pytest.raises(RequestError, match=r"cannot be had from http.*: no route to host"):
        encoder(TorchvisionSettings("mobilenet_v3_small", weights="imagenet"), (3, 32, 32))


def test_a_frozen_network_trains_its_head_alone_and_keeps_its_statistics() -> None:
    settings = TorchvisionSettings("mobilenet_v3_small", frozen=True)
    network = build("torchvision", settings, Sample((3, 16, 16)), lambda d: nn.Linear(d, 4), 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in network.parameters() if each.requires_grad], lr=0.1)
    network.train()
    network({"images": torch.rand(4, 3, 16, 16)}).square().sum().backward()
    optimiser.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert "head.bias" in changed and all(name.startswith("head.") for name in changed)
