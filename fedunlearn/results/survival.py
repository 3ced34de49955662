"""Does forgetting survive a format: what of it is undone where weights are rounded, in findings and in weights.

Rounding to a grid moves a weight by half a step at most, which may be more than unlearning moved it. What comes back is
seen twice: in the audits of the rounded models, and in the update that is left between them. Small updates need not
vanish: a weight near the edge of its bin crosses it, and the update that survives may be longer than the intended one
and point elsewhere (see `cosine` and `length`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedunlearn.results.findings import Declared
from fedunlearn.results.summary import Numbers
from fedunlearn.results.verdict import SURFACE

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Layer:
    """The weights of a layer before and after unlearning, arrays of one shape: float32 ones and their codes.

    `original_read`, `unlearned_read`: as the format reads them back; `half_steps`: how far each original weight can
    move from the middle of its bin.
    """

    original: np.ndarray
    unlearned: np.ndarray
    original_codes: np.ndarray
    unlearned_codes: np.ndarray
    original_read: np.ndarray
    unlearned_read: np.ndarray
    half_steps: np.ndarray


def of_weights(layers: Iterable[Layer]) -> Numbers:
    """What becomes of the update u - o between original and unlearned weights, over all layers.

    `flipped` in [0, 1]: share of weights whose code is another one in Q(u) than in Q(o). `cosine` in [-1, 1] between
    the intended update and the surviving one, Q(u) - Q(o); `length`: the surviving over the intended one's norm; None
    where there is none. `step_ratio_Q`: |u - o| in half steps of Q(o), at the quantile Q of the weights (10, 50, 90).
    """
    total = flipped = 0
    inner = intended = surviving = 0.0
    ratios = []
    for layer in layers:
        meant = layer.unlearned.astype(float) - layer.original
        left = layer.unlearned_read.astype(float) - layer.original_read
        total += meant.size
        flipped += int((layer.original_codes != layer.unlearned_codes).sum())
        inner, intended, surviving = (
            inner + (meant * left).sum(),
            intended + (meant**2).sum(),
            surviving + (left**2).sum(),
        )
        some = layer.half_steps > 0
        ratios.append(np.abs(meant[some]) / layer.half_steps[some])
    steps = np.concatenate([np.ravel(each) for each in ratios]) if ratios else np.zeros(0)
    both = intended > 0 and surviving > 0
    return {
        "flipped": flipped / total if total else None,
        "cosine": float(inner / np.sqrt(intended * surviving)) if both else None,
        "length": float(np.sqrt(surviving / intended)) if intended > 0 else None,
        **{f"step_ratio_{100 * q:.0f}": float(np.quantile(steps, q)) if steps.size else None for q in QUANTILES},
    }


def of_findings(before: Numbers, after: Numbers, original: Numbers, declared: Declared) -> Numbers:
    """What comes back of accuracy and of what the verdict counts, where a model is rounded.

    `before`, `after`: findings of the model in float32 and in the format; `original`: of the original one in the
    format. `reversion.F`: after minus before, above 0 where more is left; `way_back.F`: the same as a share of the way
    from the model before to the original one, None where that is no way back.
    """
    found: Numbers = {}
    for name, finding in declared.items():
        if not (finding.counted or name == SURFACE) or name not in before:
            continue
        side = finding.side or 1
        found[f"reversion.{name}"] = change = _times(side, before.get(name), after.get(name))
        whole = _times(side, before.get(name), original.get(name))
        found[f"way_back.{name}"] = change / whole if change is not None and whole is not None and whole > 0 else None
    return found


def _times(side: int, start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else side * (end - start) + 0.0  # no minus zero
