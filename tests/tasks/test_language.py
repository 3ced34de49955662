"""Losses, likelihood and score of answers, by hand."""

import pytest
import torch

from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.language import TASKS, UNSCORED, TokenOutputs, token_losses

TASK = TASKS["language"]
P = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], [[0.6, 0.2, 0.2], [0.1, 0.1, 0.8], [1, 1, 1]]])
SAID = TokenOutputs(torch.zeros(2, 4), P.log())
# Of the first answer two tokens count, the second of which is wrong; of the other one, which is right.
BATCH = Batch({}, torch.tensor([[UNSCORED, 1, 0], [UNSCORED, 2, UNSCORED]]), torch.ones(2))


def test_the_loss_is_a_mean_over_the_answers_own_tokens():
    logs = torch.tensor([0.8, 0.2, 0.8]).log()
    torch.testing.assert_close(
        token_losses(SAID.logits, BATCH.targets), torch.tensor([[0, -logs[0], -logs[1]], [0, -logs[2], 0]])
    )
    torch.testing.assert_close(TASK.losses(SAID, BATCH), torch.stack([-(logs[0] + logs[1]) / 2, -logs[2]]))
    assert TASK.length(BATCH).tolist() == [2, 1]
    torch.testing.assert_close(TASK.likelihood(SAID, BATCH), torch.tensor([0.16**0.5, 0.8]))


def test_the_score_is_the_share_of_tokens_that_are_likeliest():
    assert TASK.score(SAID, BATCH).tolist() == [0.5, 1.0]
    assert TASK.kept(SAID, BATCH)["right"].tolist() == [[False, True, False], [False, True, False]]


def test_an_answer_without_tokens_has_no_loss():
    nothing = Batch({}, torch.full((2, 3), UNSCORED), torch.ones(2))
    assert TASK.losses(SAID, nothing).tolist() == TASK.score(SAID, nothing).tolist() == [0, 0]


def test_features_are_means_over_the_tokens_that_are_there():
    class Hidden:
        def features(self, inputs):
            return inputs["tokens"].float().unsqueeze(-1).expand(-1, -1, 2)

        def head(self, hidden):
            return hidden

    there = torch.tensor([[True, True, False]])
    said = TASK.outputs(Hidden(), {"tokens": torch.tensor([[1, 2, 9]]), "there": there})
    assert said.features.tolist() == [[1.5, 1.5]] and said.logits.shape == (1, 3, 2)


def test_guessing_is_one_of_all_tokens(fictions):
    assert TASK.chance(fictions) == pytest.approx(1 / fictions.sample.vocabulary)
