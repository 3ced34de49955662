"""Which layer has the maps: by family and image size, never a pooling, and never one beside which a shortcut passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedunlearn.data.types import Sample
from fedunlearn.models.base import Network, build
from fedunlearn.models.maps import LEAST, map_layer
from fedunlearn.settings import registry

SEVEN, EIGHT, TEN, FOURTEEN, SIXTEEN = 7, 8, 10, 14, 16


def found(model: Network, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """The layer's name without `encoder.`, and height and width of its maps."""
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    model.eval()
    name = map_layer(model, images)
    sizes: list[Any] = []
    handle = model.get_submodule(name).register_forward_hook(lambda module, given, out: sizes.append(out.shape[2:]))
    model.features({"images": images})
    handle.remove()
    return name.removeprefix("encoder."), tuple(sizes[0])


@pytest.mark.parametrize(
    ("family", "settings", "shape", "layer", "side"),
    [
        ("cnn", {}, (1, 28, 28), "4", FOURTEEN),
        ("cnn", {}, (3, 32, 32), "4", SIXTEEN),
        ("cnn", {"norm": "batch"}, (1, 28, 28), "6", FOURTEEN),
        ("cnn", {}, (1, 8, 8), "1", EIGHT),
        ("lenet", {}, (1, 28, 28), "4", TEN),
        ("lenet", {}, (3, 32, 32), "4", TEN),
        ("resnet18", {}, (1, 28, 28), "layer3", SEVEN),
        ("resnet18", {}, (3, 32, 32), "layer3", EIGHT),
        ("resnet18", {"norm": "group"}, (1, 8, 8), "layer1", EIGHT),
        ("resnet18", {"stem": "imagenet"}, (3, 64, 64), "layer2", EIGHT),
        ("resnet50", {}, (1, 28, 28), "layer3", SEVEN),
        ("torchvision", {}, (1, 28, 28), "network.features.2.block.0", SEVEN),
        ("torchvision", {}, (3, 32, 32), "network.features.2.block.0", EIGHT),
        ("torchvision", {"arch": "resnet18"}, (3, 224, 224), "network.layer4", SEVEN),
        ("torchvision", {"arch": "densenet121"}, (3, 64, 64), "network.features.transition2.conv", EIGHT),
        ("torchvision", {"arch": "swin_t"}, (3, 32, 32), "network.features.0.0", EIGHT),
    ],
)
def test_every_family_has_one_of_at_least_seven_by_seven(
    family: str, settings: dict[str, Any], shape: tuple[int, ...], layer: str, side: int
) -> None:
    chosen = registry.find("model", family).settings(**settings)
    model = build(family, chosen, Sample(shape), lambda width: nn.Linear(width, 3), seed=0)
    assert found(model, shape) == (layer, (side, side))
    assert side >= LEAST


class Shortcut(nn.Module):
    """A convolution, and the image beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.inside(images) + images


def network(*layers: nn.Module) -> Network:
    return Network(nn.Sequential(*layers), nn.LazyLinear(2))


def test_what_a_shortcut_passes_by_is_not_chosen() -> None:
    model = network(Shortcut(), nn.AvgPool2d(4), nn.Flatten())
    assert found(model, (1, 8, 8)) == ("0", (8, 8))


def test_a_layer_that_is_used_twice_is_not_chosen() -> None:
    again = nn.ReLU()
    model = network(nn.Conv2d(1, 2, 1), again, nn.Conv2d(2, 2, 1), again, nn.Flatten())
    assert found(model, (1, 9, 9)) == ("2", (9, 9))


def test_pooling_that_makes_maps_large_again_is_not_chosen() -> None:
    model = network(nn.Conv2d(1, 2, 1), nn.MaxPool2d(8), nn.AdaptiveAvgPool2d(7), nn.Flatten())
    assert found(model, (1, 8, 8)) == ("0", (8, 8))


@pytest.mark.parametrize("layers", [(nn.Flatten(), nn.Linear(64, 3)), (nn.Conv2d(1, 2, 3), nn.Flatten())])
def test_without_maps_or_with_small_ones_there_is_none(layers: tuple[nn.Module, ...]) -> None:
    assert map_layer(network(*layers).eval(), torch.zeros(1, 1, 8, 8)) == ""


def test_the_model_is_left_as_it_was() -> None:
    model = network(nn.Conv2d(1, 2, 1), nn.Flatten()).eval()
    map_layer(model, torch.zeros(1, 1, 8, 8))
    assert all(not module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
