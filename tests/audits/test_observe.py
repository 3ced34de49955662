"""Evidence is what the model says, and looking does not change the model. Also: the table of audits in conf/."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from fedunlearn.audits.observe import observe
from fedunlearn.data.types import Dataset, Normaliser, Request, Sample, Split, labelled_images
from fedunlearn.errors import RunError
from fedunlearn.models.base import Network, build
from fedunlearn.models.cnn import CnnSettings
from fedunlearn.settings import registry
from fedunlearn.settings.schema import parse
from fedunlearn.tasks.classification import TASKS

CPU = torch.device("cpu")
PREPARE = Normaliser((0.4,), (0.3,))
CONF = Path(__file__).parents[2] / "conf" / "audit" / "default.yaml"


def images(samples: int, seed: int) -> Split:
    stream = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (samples, 1, 8, 8), generator=stream, dtype=torch.uint8)
    return labelled_images(pixels, torch.arange(samples) % 4)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(
        "noise", images(TASKS["classification"].at_once + 30, 0), images(10, 1), ("a", "b", "c", "d"), PREPARE, ""
    )


@pytest.fixture
def model() -> Network:
    settings = CnnSettings(width=2, feature_dim=6, norm="batch")
    return build("cnn", settings, Sample((1, 8, 8)), lambda width: torch.nn.Linear(width, 4), seed=0)


def request(dataset: Dataset, classes: tuple[int, ...]) -> Request:
    return Request("class", np.isin(dataset.train.groups.numpy(), classes), classes)


def test_views_hold_the_outputs_of_the_model_in_order(model: Network, dataset: Dataset) -> None:
    found = observe(model, dataset, request(dataset, (1, 3)), CPU)
    model.eval()
    for view, split in ((found.train, dataset.train), (found.test, dataset.test)):
        with torch.no_grad():
            inputs = PREPARE(split.inputs)
            assert torch.allclose(torch.from_numpy(view.logits), model(inputs), atol=1e-6)
            assert torch.allclose(torch.from_numpy(view.features), model.features(inputs), atol=1e-6)
        assert view.labels.tolist() == view.groups.tolist() == split.targets.tolist()
        dtypes = [str(part.dtype) for part in (view.features, view.logits, view.labels, view.score)]
        assert dtypes == ["float32", "float32", "int64", "float64"]
        assert view.forget.tolist() == [label in (1, 3) for label in split.groups]
        assert view.score.tolist() == (view.logits.argmax(axis=1) == view.labels).tolist()
        assert view.features.shape == (len(split), 6)


def test_a_view_holds_the_images_that_the_model_was_shown(model: Network, dataset: Dataset) -> None:
    found = observe(model, dataset, request(dataset, (1,)), CPU).test
    chosen = np.array([7, 0, 7])
    shown = found.samples.at(chosen)
    assert torch.equal(shown["images"], PREPARE.images(dataset.test.inputs["images"][[7, 0, 7]]))
    model.eval()
    with torch.no_grad():
        assert np.allclose(model(shown).numpy(), found.logits[chosen], atol=1e-6)


def test_below_class_level_no_test_sample_is_forgotten(model: Network, dataset: Dataset) -> None:
    marked = np.arange(len(dataset.train)) < 7
    found = observe(model, dataset, Request("client", marked, ()), CPU)
    assert found.train.forget.sum() == 7
    assert found.test.forget.tolist() == [False] * 10


def test_the_model_is_left_as_it_was(model: Network, dataset: Dataset) -> None:
    model.train()
    model.encoder[1].eval()  # type: ignore[index]  # a frozen batch norm in a model that trains
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = observe(model, dataset, request(dataset, (0,)), CPU)
    assert found.model is model
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_an_image_looks_the_same_in_any_company(model: Network, dataset: Dataset) -> None:
    """Evaluation mode: batch norm must not mix the images of a chunk."""
    model.train()
    alone = replace(dataset, test=dataset.test.at(torch.arange(1)))
    together, single = (observe(model, data, request(dataset, (0,)), CPU).test for data in (dataset, alone))
    assert np.allclose(together.logits[:1], single.logits, atol=1e-6)


def test_outputs_that_are_not_finite_are_an_error(model: Network, dataset: Dataset) -> None:
    with torch.no_grad():
        model.head.bias[2] = -torch.inf
    with pytest.raises(RunError, match="not finite"):
        observe(model, dataset, request(dataset, (2,)), CPU)


def test_the_yaml_file_spells_out_the_defaults() -> None:
    given = OmegaConf.to_container(OmegaConf.load(CONF))
    assert isinstance(given, dict)
    for name, values in given.items():
        settings = registry.find("audit", str(name)).settings
        assert parse(settings, values) == settings()
        assert set(values) == set(vars(settings()))
    assert {"accuracy", "class_flow", "ausuc", "linear_probe"} <= set(given)


def test_modules_without_a_table_are_ignored() -> None:
    assert {"accuracy", "class_flow", "ausuc", "linear_probe"} <= set(registry.names("audit"))
    assert not {"base", "observe"} & set(registry.names("audit"))
