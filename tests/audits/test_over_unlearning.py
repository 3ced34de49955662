"""OU@ε by hand, where perturbations stay, and the masked head: perfect here, as it must be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon

from fedunlearn.audits.base import Reference
from fedunlearn.audits.divergence import jensen_shannon
from fedunlearn.audits.over_unlearning import (
    AUDITS,
    FINDINGS,
    OverUnlearningSettings,
    start,
    stepped,
    within,
    without,
)
from fedunlearn.data.types import Inputs, Normaliser


class Fixed(torch.nn.Module):
    """Logits: a fixed matrix times the first pixels, whatever the shape."""

    def __init__(self, matrix: Any) -> None:
        super().__init__()
        self.matrix = torch.tensor(matrix, dtype=torch.float32)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        return inputs["images"].flatten(1)[:, : self.matrix.shape[1]] @ self.matrix.T


NORMALISE = Normaliser((0.5,), (0.25,))


def measure(trained: Any, name: str, **settings: Any) -> Any:
    settings = OverUnlearningSettings(**settings)
    return AUDITS["over_unlearning"].measure(trained(name), trained.reference, settings)


def test_the_forgotten_share_is_cut_out_and_the_rest_renormalised() -> None:
    model = Fixed(np.log([[0.5], [0.3], [0.2]]))
    found = without(model, torch.ones(1, 1, 1, 1), [0])
    assert found == pytest.approx(np.array([[0, 0.6, 0.4]]), abs=1e-6)


def test_divergence_by_hand() -> None:
    p, q = np.array([[1, 0], [0.5, 0.5]]), np.array([[0, 1], [0.5, 0.5]])
    assert jensen_shannon(p, q).tolist() == pytest.approx([1.0, 0.0])  # nothing in common; equal


@given(*[arrays(float, (3, 4), elements=st.floats(0.01, 1)) for _ in range(2)])
def test_divergence_agrees_with_scipy(p: np.ndarray, q: np.ndarray) -> None:
    p, q = (rows / rows.sum(axis=1, keepdims=True) for rows in (p, q))
    expected = np.mean(np.nan_to_num(jensenshannon(p, q, axis=1, base=2)) ** 2)
    assert jensen_shannon(p, q).mean() == pytest.approx(expected, abs=1e-9)


def test_steps_go_toward_the_likeliest_retain_class_and_no_farther_than_allowed() -> None:
    model = Fixed(np.eye(3))  # class c is pixel c; class 0 is forgotten
    pixels = torch.tensor([[[[0.9, 0.3, 0.2]]]])
    shown = (pixels - 0.5) / 0.25
    settings = OverUnlearningSettings(step=0.02, epsilon=0.03, steps=2)
    moved = stepped(model, shown, shown, NORMALISE, [0], settings) * 0.25 + 0.5
    assert moved.flatten().tolist() == pytest.approx([0.87, 0.33, 0.17])  # up with class 1, down with the others
    away = stepped(model, shown, shown, NORMALISE, [0], replace(settings, direction="away", steps=1)) * 0.25 + 0.5
    assert away.flatten().tolist() == pytest.approx([0.92, 0.28, 0.22])


def test_a_random_beginning_is_anywhere_within_reach_and_inside_the_range() -> None:
    shown = (torch.tensor([0.5, 0.01]).expand(200, 2).reshape(200, 1, 1, 2) - 0.5) / 0.25
    settings = OverUnlearningSettings(epsilon=0.03, begin="random")
    pixels = (start(shown, NORMALISE, settings, 0) * 0.25 + 0.5).view(200, 2)
    lowest, highest = pixels.min(0).values.tolist(), pixels.max(0).values.tolist()
    assert lowest == pytest.approx([0.47, 0.0], abs=2e-3) and highest == pytest.approx([0.53, 0.04], abs=2e-3)
    assert pixels[:, 0].mean() == pytest.approx(0.5, abs=5e-3)  # four standard errors
    assert torch.equal(start(shown, NORMALISE, settings, 0), start(shown, NORMALISE, settings, 0))
    assert start(shown, NORMALISE, OverUnlearningSettings(), 0) is shown


def test_pixels_stay_between_black_and_white() -> None:
    x = torch.tensor([[[[-9.0, 0.0, 9.0]]]])
    assert (within(x, NORMALISE) * 0.25 + 0.5).flatten().tolist() == [0.0, 0.5, 1.0]


def test_a_masked_head_is_perfect_and_retraining_is_not(trained: Any) -> None:
    found = {name: measure(trained, name) for name in ("original", "masked", "retrained_0")}
    for name in FINDINGS:
        assert found["masked"][name] == pytest.approx(0, abs=1e-9)
        assert found["retrained_0"][name] > 1e-3
        assert found["original"][name] > 0.5  # it still says the forgotten class


def test_without_perturbation_both_are_the_same_number(trained: Any) -> None:
    found = measure(trained, "retrained_0", sigma=0.0, epsilon=0.0)
    assert found["ou_gaussian"] == found["ou_pgd"]
    assert found != measure(trained, "retrained_0", sigma=0.3, epsilon=0.0)


def test_models_are_left_alone(trained: Any) -> None:
    def gradients() -> list[torch.Tensor]:
        models = (trained(name).model for name in ("original", "retrained_0"))
        return [parameter.grad.clone() for model in models for parameter in model.parameters()]

    before = gradients()
    measure(trained, "retrained_0")
    assert all(torch.equal(one, other) for one, other in zip(before, gradients(), strict=True))


def test_not_defined_below_class_level(trained: Any) -> None:
    reference = Reference(trained("original"), (), (), 4, 0)
    found = AUDITS["over_unlearning"].measure(trained("original"), reference, OverUnlearningSettings())
    assert found == dict.fromkeys(FINDINGS)
