"""How much each class counts: class-balanced weights, and HomoVar, which keeps the variances of classes alike.

Class-balanced (Cui et al., CVPR 2019, arXiv 1901.05555): w_i = (1 - beta) / (1 - beta^n_i), scaled to a mean of 1.

HomoVar (ClimbQ, Chen, Yang & Chen, NeurIPS 2022, and its code, github.com/tinganchen/ClimbQ): z_ij = sum over d of
|x_ijd - mean x_id| says how far sample j of class i is from its class. With S_i, z_i = S_i / n_i and z the mean of
the z_i over the k classes, Levene's test finds the classes alike where

    sum_i n_i (z_i - z)^2  <=  F (k - 1) MSW,     MSW = sum_ij (z_ij - z_i)^2 / (N - k)

and F is a quantile of the F distribution. With all classes but i as they are, that holds for sizes n_i between two
bounds, the roots of  z^2 n^2 - (2 S_i z + C_i) n + S_i^2,  where C_i is what the other classes leave of the right
side. A class outside has beta^(1 / distance to the bound) in place of beta.

As the code: these formulas, and beta as it is for a class whose quadratic has no roots (there its comparisons are with
NaN). Ours: classes without data are left out of k, N and F, where the code divides by zero; and the sums are those of
all retain samples on one model, where the code divides sums over a batch by the sizes of the whole data set.

Federated: what is needed are sums per class, in two passes, since z needs the means of all clients together: n_i and
the sums of features, then the sums of z_ij and of their squares. The server never sees a sample's features, and secure
aggregation would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.stats import f as f_distribution
from torch import Tensor

Sums = Mapping[str, Tensor]


@dataclass(frozen=True)
class Bounds:
    """The sizes between which a class does not spoil homogeneity, float64 [classes] each; NaN where there are none."""

    lower: Tensor
    upper: Tensor


def first_sums(features: Tensor, targets: Tensor, classes: int) -> dict[str, Tensor]:
    """A client's first pass: `counts` [classes] and sums of `features` [classes, d], float64."""
    wide = features.double()
    sums = wide.new_zeros(classes, wide.shape[1]).index_add_(0, targets, wide)
    return {"counts": torch.bincount(targets, minlength=classes).double(), "features": sums}


def means(sums: Sums) -> Tensor:
    """The mean features of every class, float64 [classes, d]; zeros for a class without data."""
    return sums["features"] / sums["counts"].clamp_min(1)[:, None]


def second_sums(features: Tensor, targets: Tensor, mean: Tensor) -> dict[str, Tensor]:
    """A client's second pass: sums of z_ij (`spread`) and of their squares (`squares`), float64 [classes] each."""
    z = (features.double() - mean[targets]).abs().sum(1)
    zeros = z.new_zeros(len(mean))
    return {"spread": zeros.index_add(0, targets, z), "squares": zeros.index_add(0, targets, z.square())}


def bounds(counts: Tensor, spread: Tensor, squares: Tensor, alpha: float) -> Bounds:
    """Lower and upper bound of every class's size, from sums over all clients."""
    there, nothing = counts > 0, torch.full_like(spread, torch.nan)
    k, n = int(there.sum()), counts.clamp_min(1)
    if k < 2 or counts.sum() <= k:
        return Bounds(nothing, nothing)
    own = spread / n
    mean = own[there].mean()
    within = (squares - spread.square() / n).clamp_min(0).sum() / (counts.sum() - k)
    allowed = float(f_distribution.ppf(1 - alpha, k - 1, int(counts.sum()) - k)) * (k - 1) * within
    apart = counts * (own - mean).square()
    left = allowed - (apart.sum() - apart)
    root = (left * (left + 4 * spread * mean)).sqrt()  # NaN below 0
    middle, scale = 2 * spread * mean + left, 2 * mean.square()
    return Bounds(*(torch.where(there & (scale > 0), (middle + side * root) / scale, nothing) for side in (-1, 1)))


def homovar_betas(counts: Tensor, limits: Bounds, beta: float) -> Tensor:
    """The beta of every class, float64 [classes]: what it was, unless the class's size is outside of its bounds."""
    below, above = limits.lower - counts, counts - limits.upper
    distance = torch.where(below > 0, below, torch.where(above > 0, above, torch.inf))
    exponent = torch.where(distance.isfinite(), 1 / distance, 1.0)
    return torch.full_like(counts, beta) ** exponent


def class_weights(counts: Tensor, betas: Tensor) -> Tensor:
    """(1 - beta_i) / (1 - beta_i^n_i), scaled to a mean of 1 over the classes with data; 1 for the others."""
    there, logs = counts > 0, betas.log()
    raw = torch.expm1(logs) / torch.expm1(counts.clamp_min(1) * logs)
    return torch.where(there, raw * there.sum() / raw[there].sum(), 1.0)
