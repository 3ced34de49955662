"""A model in vectors is the same model: nothing that it does may tell."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedunlearn.models.flat import ALIGNMENT, Flat, Layout

CPU = torch.device("cpu")


class Tied(nn.Module):
    """Two layers that share their weight, and a buffer that is replaced instead of written into."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("scratch", torch.full((3,), 7.0), persistent=False)

    def forward(self, x):
        self.seen = self.seen + len(x)
        return self.second(self.first(x).relu())


def convolutions():
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(64, 3)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def mixed():
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3).double())


MODELS = {
    "convolutions": (convolutions, (8, 3, 6, 6)),
    "tied": (Tied, (8, 5)),
    "no bias": (lambda: nn.Linear(5, 2, bias=False), (8, 5)),
}


def made(name, seed=0):
    torch.manual_seed(seed)
    return MODELS[name][0]()


def taught(model, name, steps=3):
    """The model after a few steps of torch's own SGD."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    stream = torch.Generator().manual_seed(5)
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.randn(MODELS[name][1], generator=stream)).square().sum().backward()
        optimiser.step()
    return model


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", MODELS)
def test_loading_training_and_copying_are_what_state_dict_would_give(name):
    other, plain, flat = made(name, 1).state_dict(), made(name), Flat(made(name, 2))
    for _ in range(2):  # the second time, the model holds what the first one left
        plain.load_state_dict(other)
        flat.load(flat.layout.vectors(other, CPU))
        assert same(flat.model.state_dict(), other)
        taught(plain, name)
        taught(flat.model, name)
        assert same(flat.layout.views(flat.copy()), plain.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_a_copy_is_no_view(name):
    flat = Flat(made(name))
    before = flat.layout.views(flat.copy())
    kept = {tensor: value.clone() for tensor, value in before.items()}
    taught(flat.model, name)
    assert same(before, kept)
    assert not same(before, flat.layout.views(flat.copy()))


def test_parameters_stay_the_same_objects_and_tied_ones_tied():
    model = Tied()
    parameters = list(model.parameters())
    flat = Flat(model)
    assert all(now is was for now, was in zip(model.parameters(), parameters, strict=True))
    assert model.second.weight is model.first.weight
    assert flat.layout.slots["second.weight"] == flat.layout.slots["first.weight"]
    assert "scratch" not in flat.layout.slots and model.scratch.tolist() == [7.0] * 3


def test_a_copy_of_the_model_lives_on_its_own():
    flat = Flat(convolutions())
    double = copy.deepcopy(flat.model)
    with torch.no_grad():
        for value in double.state_dict().values():
            value.fill_(3)
    assert not any((value == 3).all() for value in flat.layout.views(flat.copy()).values())


@pytest.mark.parametrize("move", ["data", "parameter"])
def test_a_tensor_that_somebody_moved_comes_back_with_its_value(move):
    flat = Flat(nn.Linear(3, 2))
    moved = torch.full((2, 3), 4.0)
    if move == "data":
        flat.model.weight.data = moved
    else:
        flat.model.weight = nn.Parameter(moved)
    assert flat.layout.views(flat.copy())["weight"].tolist() == moved.tolist()
    flat.load({"float32": torch.ones(32)})
    assert flat.model.weight.tolist() == [[1.0] * 3] * 2


def test_strides_are_kept_and_every_tensor_is_aligned():
    model = convolutions()
    strides = {name: value.stride() for name, value in model.state_dict().items()}
    flat = Flat(model)
    assert {name: value.stride() for name, value in model.state_dict().items()} == strides
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(value.data_ptr() % ALIGNMENT == 0 for value in model.state_dict().values())
    assert set(flat.layout.sizes) == {"float32", "int64"}


def test_every_type_of_number_has_a_vector():
    flat = Flat(mixed())
    assert flat.layout.sizes == {"float32": 16 + 16, "float64": 16 + 8}
    assert flat.layout.payload == 4 * (16 + 4) + 8 * (12 + 3)


def test_digests_tell_what_must_not_be_mistaken():
    model = convolutions()
    own = Layout.of(model.state_dict()).digest
    contiguous = {name: value.contiguous() for name, value in model.state_dict().items()}
    others = [contiguous, Tied().state_dict(), dict(list(model.state_dict().items())[:-1])]
    assert Layout.of(convolutions().state_dict()).digest == own
    assert len({own, *(Layout.of(state).digest for state in others)}) == 4


shapes = st.lists(st.lists(st.integers(0, 4), max_size=4).map(tuple), min_size=1, max_size=6)
types = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool])


@settings(max_examples=100)
@given(
    shapes, st.lists(st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool])), st.data()
)
def test_views_of_vectors_are_the_tensors_and_do_not_overlap(shapes, dtypes, data):
    state = {}
    for number, shape in enumerate(shapes):
        value = torch.arange(max(1, torch.Size(shape).numel())).add(number)[: torch.Size(shape).numel()].view(shape)
        order = data.draw(st.permutations(range(len(shape))))
        value = value.permute(order).to(dtypes[number % len(dtypes)] if dtypes else torch.float32)
        state[str(number)] = value
    layout = Layout.of(state)
    vectors = layout.vectors(state, CPU)
    views = layout.views(vectors)
    assert same(views, state)
    assert all(views[name].dtype == value.dtype for name, value in state.items())
    for view in views.values():
        view.zero_()  # whoever overlaps loses its values
        state[next(name for name in views if views[name] is view)].zero_()
        assert same(views, state)
