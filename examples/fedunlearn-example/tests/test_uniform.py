"""The labels, worked out by hand."""

from types import SimpleNamespace

import torch
from fedunlearn_example.uniform import METHOD, Uniform, assign

from fedunlearn.federation.spec import StageSpec
from fedunlearn.settings.config import TrainConfig

PLAN = StageSpec("unlearn", seed=0, method="uniform", training=TrainConfig(), classes=3)
CLIENT = SimpleNamespace(targets=torch.tensor([0, 2]), forget=torch.tensor([False, True]))


def test_retain_samples_keep_their_label_and_forget_samples_lose_it():
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(assign(Uniform(), PLAN, None, CLIENT, None).labels, expected)


def test_a_part_of_the_label_can_stay():
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.4, 0.4, 0.2]])
    torch.testing.assert_close(assign(Uniform(amount=0.8), PLAN, None, CLIENT, None).labels, expected)


def test_it_is_defined_at_every_level():
    assert METHOD.levels == {"class", "client", "sample"}
