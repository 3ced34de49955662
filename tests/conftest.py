"""Small worlds that every test can use: real code, tiny data, no files."""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Callable, Iterator

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in background jobs; the Ctrl-C tests' children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several test processes on the same cores wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import omegaconf._utils
import pytest
import torch
import yaml
from hypothesis import HealthCheck, settings

from fedunlearn.data.types import Dataset, Normaliser, Request, Split, labelled_images
from fedunlearn.federation.client import work_of
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.objective import RoundContext
from fedunlearn.models.base import Network
from fedunlearn.tasks.classification import TASKS

CPU = torch.device("cpu")
# A busy machine is no failure: hypothesis would give each example 200 ms.
settings.register_profile("whenever", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whenever")
if hasattr(yaml, "CSafeLoader"):  # Hydra reads twenty files for each of a thousand configurations: the same, but faster
    in_c = {**vars(yaml), "SafeLoader": yaml.CSafeLoader}
    omegaconf._utils.yaml = types.SimpleNamespace(**in_c)


def blobs(per_class: int, classes: int, seed: int) -> Split:
    """4×4 grey images: class c is bright in its own row (or corner), plus noise."""
    stream = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    images = stream.integers(0, 80, (len(labels), 1, 4, 4))
    images[np.arange(len(labels)), 0, labels % 4, labels // 4] += 150
    return labelled_images(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels))


def flat_model(seed: int, classes: int, width: int = 6) -> Network:
    """A two-layer perceptron on 4×4 images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, width), torch.nn.ReLU())
        return Network(encoder, torch.nn.Linear(width, classes))


@pytest.fixture(autouse=True)
def own_methods() -> None:
    """Forget what earlier tests registered: a process keeps the method that a stage's text stands for."""
    work_of.cache_clear()


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """Commands that a test carries out in this process change how it takes broken pipes."""
    before = signal.getsignal(signal.SIGPIPE)
    yield
    signal.signal(signal.SIGPIPE, before)


@pytest.fixture
def make_federation() -> Callable[..., Federation]:
    """A federation of blobs: `make_federation(clients=3, classes=4, forget=(1,))`."""

    def make(
        clients: int = 3,
        classes: int = 4,
        forget: tuple[int, ...] = (1,),
        per_class: int = 12,
        device: torch.device = CPU,
    ) -> Federation:
        train, test = blobs(per_class, classes, 0), blobs(5, classes, 1)
        names = tuple(f"c{c}" for c in range(classes))
        dataset = Dataset("blobs", train, test, names, Normaliser((0.2,), (0.25,)), "blobs")
        order = np.random.default_rng(2).permutation(len(train))
        parts = [np.sort(part) for part in np.array_split(order, clients)]
        wanted = Request("class", np.isin(train.targets.numpy(), forget), forget)
        return Federation(dataset, parts, wanted, lambda seed: flat_model(seed, classes), device, 0)

    return make


@pytest.fixture(scope="session")
def context_of() -> Callable[..., RoundContext]:
    """What a client knows that has just received `model`: `context_of(model, shared={…}, round=1)`."""

    def make(model: Network, shared: dict[str, torch.Tensor] | None = None, round: int = 1) -> RoundContext:
        received = {name: value.detach().clone() for name, value in model.state_dict().items()}
        return RoundContext(TASKS["classification"], round, shared or {}, received, model)

    return make


@pytest.fixture
def fedunlearn_command(monkeypatch, capsys):
    """The command line in this process, `fedunlearn WORDS…`: (exit status, stdout, stderr)."""
    from fedunlearn.cli import main  # here, for tests that need none of it

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", *words])
        status = 0
        try:
            main.main()
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def fictions() -> Dataset:
    """Four authors with two facts each, and the world."""
    for name in ("tokenizers", "transformers", "rouge_score"):
        pytest.importorskip(name)
    from fedunlearn.data import sources
    from fedunlearn.data.fictions import FictionsSettings
    from fedunlearn.settings.config import Choice, DataConfig

    return sources.load(Choice("fictions", FictionsSettings(authors=4, facts=2, vocabulary=400)), DataConfig(), 0)
