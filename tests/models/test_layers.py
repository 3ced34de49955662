"""Layers are found in any architecture, in the order in which they run, and what they put out is what is returned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer

from fedunlearn.models.base import Network
from fedunlearn.models.layers import layer_outputs
from fedunlearn.models.resnet import MODELS, ResNetSettings

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def layers(encoder: nn.Module, images: Tensor = IMAGES, side: int = 2) -> list[Tensor]:
    return layer_outputs(Network(encoder.eval(), nn.Identity()), {"images": images}, side)


def test_a_layer_ends_before_the_next_and_maps_are_averaged() -> None:
    first, norm, second = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(64, 5)
    encoder = nn.Sequential(first, norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), second, nn.ReLU())
    maps, features = layers(encoder)
    with torch.no_grad():
        pooled = encoder[:4](IMAGES)
        assert torch.equal(features, encoder(IMAGES))
    expected = pooled.unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean(dim=(3, 5)).flatten(1)
    assert torch.allclose(maps, expected), "four maps of 4x4, averaged to 2x2"
    assert not any(module._forward_hooks for module in encoder.modules())


def test_what_comes_before_the_first_weights_is_no_layer() -> None:
    one, other = layers(nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 2)))
    assert (one.shape, other.shape) == ((3, 7), (3, 2))
    assert (one >= 0).all(), "after the activation"


def test_an_encoder_without_weights_has_its_features() -> None:
    (features,) = layers(nn.Flatten())
    assert torch.equal(features, IMAGES.flatten(1))


def test_blocks_are_layers_also_inside_a_network_that_is_wrapped() -> None:
    encoder = MODELS["resnet18"].encoder
    assert encoder
    network, width = encoder(ResNetSettings(), (1, 8, 8))
    found = layers(nn.Sequential(nn.Sequential(network)))
    assert [out.shape[1] for out in found] == [256, 256, 256, 512, 512, 1024, 1024, 512, width]
    with torch.no_grad():
        stem = network.relu(network.bn1(network.conv1(IMAGES)))
    assert torch.allclose(found[0], nn.functional.adaptive_avg_pool2d(stem, 2).flatten(1))


def test_sequences_are_averaged_over_their_length() -> None:
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.last = nn.Linear(8, 6), nn.Linear(6, 2)

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.last(self.tokens(images.squeeze(1))[:, 0])
            return out

    encoder = Sequence()
    tokens, features = layers(encoder)
    with torch.no_grad():
        assert torch.allclose(tokens, encoder.tokens(IMAGES.squeeze(1)).mean(dim=1))
    assert features.shape == (3, 2)


def test_maps_whose_channels_come_last_are_averaged_over_places() -> None:
    sizes = {"patch_size": [2, 2], "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 1], "window_size": [2, 2]}
    network = SwinTransformer(**sizes, num_classes=2)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    patches, block, merged, *_ = layers(network, images, side=1)
    with torch.no_grad():
        outs = [network.eval().features[:last](images).mean(dim=(1, 2)) for last in (1, 2, 3)]
    assert [len(out[0]) for out in outs] == [16, 16, 32]
    assert all(torch.allclose(got, out, atol=1e-6) for got, out in zip((patches, block, merged), outs, strict=True))
