"""What audits of language models read: how likely answers are to a model, and which it gives itself.

Definitions after TOFU (Maini et al., arXiv 2401.06121) and MUSE (Shi et al., arXiv 2407.06460).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedunlearn.audits.base import Evidence, View
from fedunlearn.data.text import NOTHING, UNSCORED, Tokens, eaten, targets_of
from fedunlearn.tasks.language import counted, token_losses

LANGUAGE = frozenset({"language"})
AT_ONCE = 64  # rows that a model is shown together; fixed, so that no result depends on memory
MOST = 200  # forget, and retain, samples that are asked for answers of the model's own


def scored(view: View) -> np.ndarray:
    """Which tokens count, bool [n, T]."""
    return np.asarray(view.targets != UNSCORED)


def probabilities(view: View) -> np.ndarray:
    """exp(−mean loss of an answer's tokens), float64 [n]."""
    counts = np.maximum(scored(view).sum(axis=1), 1)
    return np.asarray(np.exp(-view.said["losses"].astype(np.float64).sum(axis=1) / counts))


def mean(values: np.ndarray) -> float | None:
    """None of nothing."""
    return float(values.mean()) if len(values) else None


def reworded(view: View) -> np.ndarray:
    """Which samples come with a paraphrase and wrong answers, bool [n]."""
    wrong = view.samples.raw.get("perturbed")
    if wrong is None or wrong.shape[1] == 0:
        return np.zeros(len(view.targets), dtype=bool)
    return np.asarray((wrong[:, 0, 0] != NOTHING).cpu().numpy())


def drawn(view: View, chosen: np.ndarray, stream: np.random.Generator, most: int = MOST) -> np.ndarray:
    """The positions of at most so many of the `chosen` samples (bool [n]), sorted."""
    rows = np.flatnonzero(chosen)
    return np.sort(stream.permutation(rows)[:most])


@dataclass(frozen=True)
class Speaker:
    """A model that is asked. `model`: a copy in evaluation mode, on `device`."""

    model: nn.Module
    device: torch.device
    tokens: Tokens

    @staticmethod
    def of(evidence: Evidence) -> Speaker:
        """The model that the evidence is about."""
        samples = evidence.train.samples
        assert isinstance(samples.prepare, Tokens)
        return Speaker(copy.deepcopy(evidence.model).to(samples.device).eval(), samples.device, samples.prepare)

    @torch.no_grad()
    def likelihoods(self, rows: Tensor, asked: Tensor) -> np.ndarray:
        """exp(−mean loss) of the answers in rows [m, T + 1], of which `asked` [m] tokens come before; float64 [m]."""
        found = []
        for part, before in zip(torch.split(rows, AT_ONCE), torch.split(asked, AT_ONCE), strict=True):
            targets = targets_of(part, before).to(self.device)
            logits = self.model({name: values.to(self.device) for name, values in eaten(part).items()})
            losses = token_losses(logits, targets).double().sum(1)
            found.append((-losses / counted(targets)).exp().cpu())
        return np.asarray(torch.cat(found).numpy())

    @torch.no_grad()
    def answers(self, rows: Tensor, asked: Tensor) -> list[str]:
        """What the model itself says to the questions in rows [m, T + 1]: always the likeliest token (greedy).

        As many tokens as the longest of the right answers has, unless the model ends before.
        """
        return [
            text
            for part in zip(torch.split(rows, AT_ONCE), torch.split(asked, AT_ONCE), strict=True)
            for text in self._said(*part)
        ]

    def _said(self, rows: Tensor, asked: Tensor) -> list[str]:
        place = torch.arange(rows.shape[1])
        written = torch.where(place < asked[:, None], rows, NOTHING).to(self.device)
        most = int(((rows != NOTHING).sum(1) - asked).max())
        each, ends = torch.arange(len(rows), device=self.device), asked.to(self.device)
        for _ in range(most):
            there = written[:, : int(ends.max())].long()
            logits = self.model({"tokens": there.clamp_min(0), "there": there != NOTHING})
            if int(ends.max()) == written.shape[1]:
                written = nn.functional.pad(written, (0, 1), value=NOTHING)
            written[each, ends] = logits[each, ends - 1].argmax(1).to(written.dtype)
            ends = ends + 1
        return [
            self.tokens.text(row[start:].tolist()) for row, start in zip(written.cpu(), asked.tolist(), strict=True)
        ]


def truths(view: View, rows: np.ndarray) -> list[str]:
    """The right answers of the samples at `rows`."""
    tokens = view.samples.prepare
    assert isinstance(tokens, Tokens)
    return [tokens.text(targets[targets != UNSCORED]) for targets in view.targets[rows]]


def own_answers(evidence: Evidence, view: View, rows: np.ndarray) -> list[str]:
    """What the model says to the questions at `rows` of a view; worked out once for all audits that ask."""
    which = "train" if view is evidence.train else "test"
    chosen = torch.as_tensor(rows)
    raw = view.samples.raw

    def ask() -> list[str]:
        return Speaker.of(evidence).answers(raw["tokens"][chosen], raw["asked"][chosen])

    found: list[str] = evidence.notes.once(("answers", which, rows.tobytes()), ask) if len(rows) else []
    return found


def rouge(said: Sequence[str], right: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """ROUGE-L recall and F of each answer, float64 [n] in [0, 1] (Lin 2004), with stems as TOFU and MUSE have it."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    found = [scorer.score(truth, text)["rougeL"] for truth, text in zip(right, said, strict=True)]
    return np.array([each.recall for each in found]), np.array([each.fmeasure for each in found])
