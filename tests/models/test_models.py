"""Every model family: shapes, size, initial weights and what it refuses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fedunlearn.data.types import Sample
from fedunlearn.engines.workers import Workers
from fedunlearn.errors import RequestError
from fedunlearn.models.base import Network, build
from fedunlearn.models.cnn import Halving
from fedunlearn.models.norm import group_norm
from fedunlearn.settings import registry
from fedunlearn.settings.schema import parse

CONF = Path(__file__).parents[2] / "conf" / "model"
OURS = ["cnn", "lenet", "resnet18", "resnet50", "torchvision"]


def make(name: str, shape: tuple[int, int, int], classes: int = 10, seed: int = 0, **settings: Any) -> Network:
    return build(
        name,
        registry.find("model", name).settings(**settings),
        Sample(shape),
        lambda width: nn.Linear(width, classes),
        seed,
    )


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "dim"),
    [
        ("cnn", (1, 8, 8), 48),
        ("cnn", (1, 28, 28), 48),
        ("cnn", (3, 64, 64), 48),
        ("cnn", (2, 9, 13), 48),
        ("lenet", (1, 12, 12), 84),
        ("lenet", (1, 28, 28), 84),
        ("lenet", (3, 32, 32), 84),
        ("lenet", (3, 31, 64), 84),
        ("resnet18", (1, 8, 8), 512),
        ("resnet18", (3, 32, 32), 512),
        ("resnet50", (1, 28, 28), 2048),
        ("resnet50", (5, 65, 65), 2048),
    ],
)
def test_features_then_head_is_the_forward_pass(name: str, shape: tuple[int, int, int], dim: int) -> None:
    model = make(name, shape, classes=7).eval()
    images = {"images": torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))}
    with torch.no_grad():
        features, logits = model.features(images), model(images)
        assert features.shape == (3, dim)
        assert logits.shape == (3, 7)
        assert torch.equal(model.head(features), logits)
    assert logits.std(dim=0).min() > 0  # different images, different answers


def test_cnn_has_the_number_of_parameters_worked_out_by_hand() -> None:
    # convolutions 1*9*12+12 and 12*9*24+24, hidden 24*7*7*48+48, head 48*10+10
    assert parameters(make("cnn", (1, 28, 28))) == 120 + 2_616 + 56_496 + 490 == 59_722
    # 8x8 colour, width 4, 5 features, batch norm (2*4 + 2*8), 3 classes; two poolings leave 2x2
    model = make("cnn", (3, 8, 8), classes=3, width=4, feature_dim=5, norm="batch")
    assert parameters(model) == (3 * 9 * 4 + 4) + 8 + (4 * 9 * 8 + 8) + 16 + (8 * 4 * 5 + 5) + (5 * 3 + 3)


def test_lenet_has_the_number_of_parameters_of_the_literature() -> None:
    dense = (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)
    assert parameters(make("lenet", (1, 28, 28))) == (25 * 6 + 6) + (6 * 25 * 16 + 16) + dense == 61_706
    assert parameters(make("lenet", (1, 32, 32))) == 61_706
    assert parameters(make("lenet", (3, 32, 32))) == 62_006


def test_resnet18_has_the_number_of_parameters_of_the_literature() -> None:
    assert parameters(make("resnet18", (3, 224, 224), classes=1000)) == 11_689_512
    assert parameters(make("resnet18", (3, 32, 32))) == 11_173_962  # the CIFAR form: 3x3 stem, ten classes


def resnet(shape: tuple[int, int, int], **settings: Any) -> Any:
    return make("resnet18", shape, **settings).encoder


def test_the_stem_follows_the_image_size_unless_told() -> None:
    small, large, told = resnet((3, 64, 64)), resnet((3, 64, 65)), resnet((1, 32, 32), stem="imagenet")
    assert (small.conv1.kernel_size, small.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(small.maxpool, nn.Identity)
    assert (large.conv1.kernel_size, large.conv1.stride) == ((7, 7), (2, 2))
    assert isinstance(large.maxpool, nn.MaxPool2d)
    assert tuple(told.conv1.weight.shape) == (64, 1, 7, 7)


def test_the_stem_is_initialised_like_the_other_convolutions() -> None:
    weight = resnet((3, 32, 32)).conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)  # Kaiming, fan out


@pytest.mark.parametrize("name", OURS)
def test_the_seed_decides_the_initial_bits(name: str) -> None:
    one, same, other = (make(name, (1, 28, 28), seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])
    first = next(key for key in one if key.startswith("encoder"))
    assert not torch.equal(one[first], other[first])


def test_building_leaves_the_global_generator_alone_and_does_not_depend_on_it() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = make("resnet18", (1, 28, 28)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    second = make("resnet18", (1, 28, 28)).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_threads_that_build_side_by_side_neither_mix_their_numbers_nor_wait_for_ever() -> None:
    workers = Workers(4)
    calls = [workers.submit(partial(make, "cnn", (1, 8, 8), seed=seed)) for seed in range(200)]
    built = [call.result(60) for call in calls]
    workers.close()
    for seed, model in enumerate(built):
        alone = make("cnn", (1, 8, 8), seed=seed).state_dict()
        assert all(torch.equal(alone[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["cnn", "resnet18", "resnet50"])
def test_group_norm_keeps_no_buffers_and_batch_norm_does(name: str) -> None:
    group, batch = (make(name, (1, 28, 28), norm=norm) for norm in ("group", "batch"))
    assert list(group.buffers()) == []
    assert any(isinstance(module, nn.GroupNorm) for module in group.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in group.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in batch.modules())
    assert any("running_mean" in key for key in batch.state_dict())


def test_cnn_has_no_norm_unless_asked() -> None:
    assert not any(isinstance(module, (nn.GroupNorm, nn.BatchNorm2d)) for module in make("cnn", (1, 8, 8)).modules())


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (2, 1), (6, 3), (7, 1), (9, 3), (12, 6), (24, 12), (64, 32), (100, 25), (2048, 32)]
)
def test_group_counts_divide_the_channels(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize(
    ("name", "shape", "settings", "sentence"),
    [
        ("cnn", (1, 7, 28), {}, "model cnn needs images of at least 8x8, not 7x28"),
        ("lenet", (3, 32, 11), {}, "model lenet needs images of at least 12x12, not 32x11"),
        ("resnet18", (3, 7, 7), {}, "a resnet with the cifar stem needs images of at least 8x8, not 7x7"),
        (
            "resnet50",
            (3, 31, 31),
            {"stem": "imagenet"},
            "a resnet with the imagenet stem needs images of at least 32x32, not 31x31",
        ),
    ],
)
def test_images_that_are_too_small_are_refused(
    name: str, shape: tuple[int, int, int], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RequestError) as refused:
        make(name, shape, **settings)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("name", OURS)
def test_the_yaml_files_spell_out_the_defaults(name: str) -> None:
    given = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(given, dict)
    assert next(iter(given)) == "name"
    settings = registry.find("model", given.pop("name")).settings
    assert parse(settings, given) == settings()
    assert set(given) == set(vars(settings()))


@pytest.mark.parametrize(("name", "channels_last"), [("cnn", True), ("lenet", True), ("resnet18", False)])
def test_a_family_computes_in_the_memory_layout_that_it_declares(name: str, channels_last: bool) -> None:
    declared, other = (make(name, (3, 16, 16)).eval() for _ in range(2))
    assert declared.channels_last == channels_last
    other.channels_last = not channels_last
    images = torch.rand(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)  # as a dataset prepares them
    seen, features = [], []
    for model in (declared, other):
        convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        convolution.register_forward_hook(lambda module, given, answer: seen.append(answer))
        features.append(model.laid_out(torch.device("cpu")).features({"images": images}))
    as_declared = [answer.is_contiguous(memory_format=torch.channels_last) for answer in seen]
    assert as_declared == [channels_last, not channels_last]
    torch.testing.assert_close(*features)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (2, 3)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_halving_is_max_pooling_with_and_without_a_gradient(size: tuple[int, int], layout: torch.memory_format) -> None:
    maps = torch.randn(3, 5, *size, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    expected = nn.MaxPool2d(2)(maps)
    assert torch.equal(Halving()(maps), expected)
    with torch.no_grad():
        assert torch.equal(Halving()(maps), expected)
