"""Hundreds of clients: memory that does not grow with them, the same samples of them, evaluation in one pass."""

import os
import resource
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fedunlearn.data.types import Dataset, Normaliser, Request, labelled_images
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.engines.local import Local
from fedunlearn.federation.evaluation import group_scores, scores
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.settings.config import Choice, TrainConfig
from tests import forked


def peak_in_child(clients, asked, answer):
    """Write the largest amount of memory (RSS, KiB) of two rounds of `asked` clients out of `clients`."""
    width = 2000
    data = labelled_images(torch.zeros(4000, 1, 8, 8, dtype=torch.uint8), torch.arange(4000) % 4)
    dataset = Dataset("zeros", data, data, tuple("abcd"), Normaliser((0.0,), (1.0,)), "zeros")

    def new_model(seed):
        encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.ReLU())
        return Network(encoder, torch.nn.Linear(width, 4))

    wanted = Request("class", np.zeros(4000, dtype=bool), ())
    parts = np.array_split(np.arange(4000), clients)
    federation = Federation(dataset, parts, wanted, new_model, torch.device("cpu"), 0)
    training = TrainConfig(batch_size=2, local_epochs=1, participation=asked / clients)
    spec = StageSpec("train", 0, "fedavg", training, 4)
    config = SimpleNamespace(engine=Choice("local", Local(workers=2)), train=training)
    run_stage(spec, Progress(federation.models.fresh(0).state_dict()), 2, federation, config, lambda progress: None)
    answer.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def peak(clients, asked, folder):
    answer = folder / str(clients)
    forked.started(peak_in_child, clients, asked, answer).join()
    return int(answer.read_text()) * 1024


@pytest.mark.skipif(os.name != "posix", reason="processes are forked")
def test_memory_does_not_grow_with_the_clients_that_are_asked(tmp_path):
    model = 4 * (64 * 2000 + 2000 + 2000 * 4 + 4)  # bytes; two hundred replies held at once would be 110 MB
    assert peak(1000, 200, tmp_path) - peak(10, 10, tmp_path) < 60 * model


@pytest.fixture
def federation(make_federation):
    return make_federation(clients=3, forget=(1,))


def test_any_number_of_threads_evaluates_to_the_same(federation):
    federation.task = replace(federation.task, at_once=4)
    state = federation.models.fresh(5).state_dict()
    assert torch.equal(scores(federation, state, federation.train, 1), scores(federation, state, federation.train, 3))
    model = federation.models.fresh(5).eval()
    test = federation.test
    right = model(federation.dataset.prepare(test.inputs)).argmax(1) == test.targets
    expected = [right[test.groups == label].float().mean().item() for label in range(4)]
    assert group_scores(federation, state, 2) == pytest.approx(expected)
