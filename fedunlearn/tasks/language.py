"""Language: an answer is to follow its question, token by token.

The loss is that of the answer's tokens alone, given the question and the answer so far. A model that never saw an
author still gets some tokens of every answer right, since answers share their wording; so forgetting means falling to
the level of a retrained model, not to zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fedunlearn.data.text import UNSCORED
from fedunlearn.data.types import Dataset, Inputs
from fedunlearn.models.base import Network
from fedunlearn.tasks.base import Batch, Task


@dataclass(frozen=True)
class TokenOutputs:
    """`features`: float [b, d], the mean of the last hidden states over a text's tokens. `logits`: float [b, T, V] of
    the token that follows each of them.
    """

    features: Tensor
    logits: Tensor


def outputs(model: Network, inputs: Inputs) -> TokenOutputs:
    """Of `tokens`, int64 [b, T], those that are `there`, bool [b, T]. None of those sees what comes after it."""
    hidden = model.features(inputs)
    there = inputs["there"].to(hidden.dtype).unsqueeze(-1)
    return TokenOutputs((hidden * there).sum(1) / there.sum(1).clamp_min(1), model.head(hidden))


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """−log p of every token that counts, float [b, T]; 0 elsewhere."""
    every = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=UNSCORED, reduction="none")
    return every.view(targets.shape)


def counted(targets: Tensor) -> Tensor:
    """How many tokens of each answer count, int64 [b]; 1 for none."""
    return (targets != UNSCORED).sum(1).clamp_min(1)


def length(batch: Batch) -> Tensor:
    """`counted`, float [b]."""
    return counted(batch.targets).to(batch.weights.dtype)


def losses(outputs: TokenOutputs, batch: Batch) -> Tensor:
    """The mean of −log p over each answer's tokens, [b]: every answer counts the same, however long it is."""
    return token_losses(outputs.logits, batch.targets).sum(1) / length(batch)


def likelihood(outputs: TokenOutputs, batch: Batch) -> Tensor:
    """exp(−loss), [b]: the geometric mean of the tokens' probabilities (TOFU, arXiv 2401.06121, section 2.2.2)."""
    return (-losses(outputs, batch)).exp()


def right(outputs: TokenOutputs, batch: Batch) -> Tensor:
    """Is the likeliest token the answer's? Bool [b, T]; false where none counts."""
    return (outputs.logits.argmax(-1) == batch.targets) & (batch.targets != UNSCORED)


def score(outputs: TokenOutputs, batch: Batch) -> Tensor:
    """Exact memorisation, [b]: the share of an answer's tokens that are likeliest, each given all before it."""
    return right(outputs, batch).sum(1) / length(batch)


def kept(outputs: TokenOutputs, batch: Batch) -> dict[str, Tensor]:
    """`losses`, float [b, T], and which tokens are `right`, bool [b, T]: logits of a whole split would fill memory."""
    return {"losses": token_losses(outputs.logits, batch.targets), "right": right(outputs, batch)}


def head(width: int, dataset: Dataset) -> nn.Module:
    """A linear layer from hidden states to the logits of all tokens."""
    return nn.Linear(width, dataset.sample.vocabulary, bias=False)


TASKS = {
    "language": Task(
        name="language",
        head=head,
        outputs=outputs,
        losses=losses,
        likelihood=likelihood,
        score=score,
        kept=kept,
        chance=lambda dataset: 1 / dataset.sample.vocabulary,
        unseen_at_chance=False,
        length=length,
        learnt=0.95,
        at_once=64,
        libraries=("transformers", "tokenizers", "rouge-score"),
    )
}
