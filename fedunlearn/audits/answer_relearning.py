"""Answer relearning: how much of what was forgotten comes back after a few steps on a few of its answers?

The attacker trains on some of the forgotten training samples and asks for the others (after Hu et al., "Jogging the
Memory of Unlearned LLMs", ICLR 2025, arXiv 2406.13356, and relearning from few samples as in `relearning`). A model
that never knew can learn those few answers, and the wording of all, but not the facts in the others; so what counts is
how much more comes back than in retrained models.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedunlearn.audits.answering import LANGUAGE
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.data.text import UNSCORED
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count, Positive, Share


@dataclass(frozen=True)
class AnswerRelearningSettings:
    """How the attacker trains."""

    share: Share = 0.5  # of the forgotten training samples that the attacker has
    steps: Count = 10  # of AdamW, each on all of these (64 at most)
    lr: Positive = 0.001
    seeds: Count = 3  # attacks with other samples, to average over


def measure(evidence: Evidence, reference: Reference, settings: AnswerRelearningSettings) -> Findings:
    """`relearnt_accuracy` in [0, 1]: exact memorisation of the forgotten answers that the attacker did not have.

    Mean over seeds; None if fewer than two samples are to be forgotten.
    """
    rows = np.flatnonzero(evidence.train.forget)
    if len(rows) < 2:
        return {"relearnt_accuracy": None}
    found = []
    for seed in range(settings.seeds):
        mixed = numpy_stream(reference.seed, "audit", "answer_relearning", seed).permutation(rows)
        count = min(max(1, round(settings.share * len(rows))), len(rows) - 1)
        found.append(attacked(evidence, mixed[:count][:64], mixed[count:], settings))
    return {"relearnt_accuracy": float(np.mean(found))}


def attacked(evidence: Evidence, had: np.ndarray, asked: np.ndarray, settings: AnswerRelearningSettings) -> float:
    """The mean score of the training samples `asked` after the attack with those that the attacker `had`."""
    view, device = evidence.train, evidence.train.samples.device
    model = copy.deepcopy(evidence.model).to(device).train()
    inputs, targets = view.samples.at(had), torch.as_tensor(view.targets[had], device=device)
    optimiser = torch.optim.AdamW(model.parameters(), settings.lr, weight_decay=0.0)
    for _ in range(settings.steps):
        loss = nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=UNSCORED)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    with torch.no_grad():
        said = model.eval()(view.samples.at(asked)).argmax(-1).cpu().numpy()
    wanted = view.targets[asked]
    return float(((said == wanted).sum(axis=1) / np.maximum((wanted != UNSCORED).sum(axis=1), 1)).mean())


AUDITS = {
    "answer_relearning": Audit(
        "answer_relearning",
        AnswerRelearningSettings,
        measure,
        findings=(
            Finding(
                "relearnt_accuracy",
                "relearnt accuracy",
                "share of the tokens of forgotten answers that are right after a few steps on other forgotten answers",
                "up",
                "0 to 1",
                counted=True,
            ),
        ),
        tasks=LANGUAGE,
        about="how much of what was forgotten comes back after a few steps on some of it?",
    )
}
