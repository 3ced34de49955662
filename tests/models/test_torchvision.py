"""Networks of torchvision by name: what is refused, what is left out, and where weights come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from fedunlearn.data.types import Sample
from fedunlearn.errors import RequestError
from fedunlearn.models.base import build
from fedunlearn.models.torchvision import TorchvisionSettings, encoder
from fedunlearn.settings import registry


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


ARCH = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for five classes, as somebody else saved it: without the counters of old files."""
    network = models.get_model(ARCH, weights=None, num_classes=5).state_dict()
    path = tmp_path_factory.mktemp("weights") / "five.safetensors"
    save_file({name: value for name, value in network.items() if not name.endswith("num_batches_tracked")}, path)
    return path


def test_weights_come_from_a_file_and_its_last_layer_is_left_out(saved: Path) -> None:
    settings = TorchvisionSettings(ARCH, weights=str(saved))
    network, _ = encoder(settings, (3, 16, 16))
    found, given = network.state_dict(), load_file(saved)
    assert given["classifier.3.weight"].shape[0] == 5 and not any("classifier.3" in name for name in found)
    own = {name: value for name, value in found.items() if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(value, given[name.removeprefix("network.")]) for name, value in own.items())
    assert len(own) == len(given) - 2


def test_the_content_of_the_file_is_part_of_what_a_run_depends_on(saved: Path) -> None:
    files = registry.find("model", "torchvision").files
    assert files(TorchvisionSettings(ARCH, weights=str(saved))) == (saved,)
    assert files(TorchvisionSettings(ARCH)) == files(TorchvisionSettings(ARCH, weights="imagenet")) == ()
    assert files(TorchvisionSettings(ARCH, weights=f"{saved}.away")) == ()


@pytest.mark.parametrize(
    ("arch", "weights", "sentence"),
    [
        ("mobilenet_v3_large", "FILE", "FILE: this is no mobilenet_v3_large of torchvision: it lacks the tensors"),
        ("mnasnet0_5", "FILE", "this is no mnasnet0_5 of torchvision: it lacks the tensors"),
        (ARCH, "/nowhere/weights.safetensors", "weights=/nowhere/weights.safetensors: there is no such file"),
        (ARCH, "imagnet", "no model.weights called 'imagnet'.*did you mean imagenet"),
    ],
)
def test_weights_that_do_not_fit_are_refused(saved: Path, arch: str, weights: str, sentence: str) -> None:
    asked = TorchvisionSettings(arch, weights.replace("FILE", str(saved)))
    with pytest.raises(RequestError, match=sentence.replace("FILE", str(saved))):
        encoder(asked, (3, 32, 32))


def test_no_pickle_is_read(tmp_path: Path) -> None:
    torch.save(models.get_model(ARCH, weights=None).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(RequestError, match=r"weights.pth is a pickle, .* so it is not read"):
        encoder(TorchvisionSettings(ARCH, weights=str(tmp_path / "weights.pth")), (3, 32, 32))


def test_a_tensor_of_another_shape_is_named(saved: Path, tmp_path: Path) -> None:
    tensors = load_file(saved)
    tensors["classifier.0.weight"] = tensors["classifier.0.weight"][:9].clone()
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(RequestError, match=r"classifier.0.weight has the shape \[9, 576\], not \[1024, 576\]"):
        encoder(TorchvisionSettings(ARCH, weights=str(tmp_path / "cut.safetensors")), (3, 32, 32))


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
