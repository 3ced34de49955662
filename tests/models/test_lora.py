import pytest
import torch
from torch import nn

from fedunlearn.errors import RequestError
from fedunlearn.models.lora import A, B, Lora, fresh, matrices, merged, product


class Layers(nn.Module):
    """Linear layers (square and not), plain, grouped and one-dimensional convolutions, and a norm."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 8, (1, 5), groups=2), nn.Conv1d(2, 2, 2)
        )
        self.square = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3)


SHAPES = {
    "encoder.0.weight": (6, 36),
    "encoder.2.weight": (8, 15),
    "encoder.3.weight": (2, 4),
    "square.weight": (5, 5),
    "head.weight": (3, 5),
}


def drawn(model, rank, targets=("conv", "linear")):
    generator = torch.Generator().manual_seed(1)
    return fresh(matrices(model, targets), rank, lambda name: generator, torch.device("cpu"))


def test_layers_are_matrices_of_outputs_by_inputs():
    assert matrices(Layers(), ("conv", "linear")) == SHAPES


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [
        (("linear",), ["square.weight", "head.weight"]),
        (("head",), ["head.weight"]),
        (("encoder.*",), ["encoder.0.weight", "encoder.2.weight", "encoder.3.weight"]),
        (("linear", "head"), ["square.weight", "head.weight"]),
        (("*.0", "head"), ["encoder.0.weight", "head.weight"]),
    ],
)
def test_targets_are_kinds_of_layers_and_patterns_of_their_names(targets, chosen):
    assert list(matrices(Layers(), targets)) == chosen


def test_a_target_that_is_no_layer_is_refused():
    for targets in (("encoder.1",), ("linear", "encoder.1")):
        with pytest.raises(
            RequestError, match=r"targets=encoder.1 is no .* conv, embedding or linear, .* from encoder.0 to head"
        ):
            matrices(Layers(), targets)


def test_a_kind_that_the_model_lacks_is_passed_over_unless_it_is_all():
    model = nn.Sequential(nn.Linear(2, 3))
    assert matrices(model, ("conv", "linear")) == {"0.weight": (3, 2)}
    with pytest.raises(RequestError, match=r"adapter.targets=conv is no layer"):
        matrices(model, ("conv",))
    with pytest.raises(RequestError, match="of which there are none"):
        matrices(nn.ReLU(), ("conv", "linear"))


def test_new_factors_change_nothing():
    model = Layers()
    factors = drawn(model, 3)
    base = {name: model.get_parameter(name) for name in SHAPES}
    for name, value in merged(Lora(rank=3, alpha=50.0), base, factors).items():
        assert torch.equal(value, base[name])
        assert factors[A + name].shape == (3, SHAPES[name][1])
        assert factors[A + name].abs().max() <= SHAPES[name][1] ** -0.5
        assert factors[A + name].std() > 0
        assert factors[B + name].shape == (SHAPES[name][0], 3)


def test_frozen_layers_get_no_adapters():
    model = Layers()
    model.encoder.requires_grad_(False)
    assert set(matrices(model, ("conv", "linear"))) == {"square.weight", "head.weight"}
    with pytest.raises(RequestError, match="is no layer of this model"):
        matrices(model, ("conv",))


def test_a_merged_layer_adds_the_scaled_update_to_what_it_computes():
    model, settings = Layers(), Lora(rank=2, alpha=3.0)
    factors = {name: torch.randn(value.shape) for name, value in drawn(model, 2).items()}
    name = "encoder.0.weight"
    weight = merged(settings, dict(model.named_parameters()), factors)[name]
    images = torch.randn(2, 4, 5, 5)
    through = nn.functional.conv2d(images, factors[A + name].view(2, 4, 3, 3))  # A is a convolution into r channels
    update = nn.functional.conv2d(through, factors[B + name].view(6, 2, 1, 1))  # B mixes them, pixel by pixel
    expected = model.encoder[0](images) + 1.5 * update
    torch.testing.assert_close(nn.functional.conv2d(images, weight, model.encoder[0].bias), expected)
    rows = torch.randn(7, 5)
    name = "head.weight"
    expected = model.head(rows) + 1.5 * (rows @ factors[A + name].T) @ factors[B + name].T
    weight = merged(settings, dict(model.named_parameters()), factors)[name]
    torch.testing.assert_close(nn.functional.linear(rows, weight, model.head.bias), expected)
    assert torch.linalg.matrix_rank(product(factors, "encoder.0.weight")) == 2
