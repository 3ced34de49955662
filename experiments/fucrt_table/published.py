"""What is published of FUCRT's results, in per cent. Nothing here was measured by us.

Guo et al., "Forgetting through Transforming: Enabling Federated Unlearning via Class-Aware Representation
Transformation", ICCV 2025, arXiv 2410.06848. The abstract is a primary source. The paper's table was not available to
us: its numbers are quoted from public notes on the paper, which may be mistaken.
"""

from __future__ import annotations

from dataclasses import dataclass

ABSTRACT = "https://iccv.thecvf.com/virtual/2025/poster/2486"
NOTES = (
    "https://en.papernotes.org/ICCV2025/llm_safety/"
    "forgetting_through_transforming_enabling_federated_unlearning_via_class-aware_re/"
)
GAIN = {"iid": 2.96, "dirichlet": 3.78}  # abstract: utility over the state of the art, points, mean over datasets
TIME_SAVED = (19.13, 96.38)  # abstract: unlearning time saved, per cent, lowest and highest
NAMES = {  # what the paper calls the methods
    "retrained": "From-scratch",
    "fucrt": "FUCRT",
    "finetune": "Fine-tune",
    "gradient_ascent": "Gradient-ascent",
    "pruning": "FUDP",
    "momentum_degradation": "FUMD",
}


@dataclass(frozen=True)
class Row:
    """Accuracies as the notes quote them; None where they quote none."""

    forget_iid: float | None = None
    retain_iid: float | None = None
    retain_other: float | None = None


TABLE = {
    ("cifar10", "gradient_ascent"): Row(0.00, 10.94, 11.15),
    ("cifar10", "pruning"): Row(0.00, 84.85, 85.68),
    ("cifar10", "momentum_degradation"): Row(0.00, 82.38, 82.60),
    ("cifar10", "fucrt"): Row(0.00, 90.06, 89.82),
    ("cifar10", "retrained"): Row(0.00, 87.99, 85.44),
    ("cifar100", "pruning"): Row(0.03, 72.25, 69.71),
    ("cifar100", "fucrt"): Row(0.00, 75.25, 74.88),
    ("fashion_mnist", "fucrt"): Row(0.00, 90.82, 90.95),
    ("eurosat", "fucrt"): Row(0.00, 94.92, None),
}
