"""How far one distribution of classes is from another."""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits between the rows of `p` and `q` [..., classes], in [0, 1]; [...].

    It is the mean divergence of `p` and of `q` from their mean.
    """
    middle = (p + q) / 2
    bits = (rel_entr(p, middle).sum(axis=-1) + rel_entr(q, middle).sum(axis=-1)) / 2 / np.log(2)
    return np.asarray(np.clip(bits, 0, 1))  # rounding can leave -1e-17, which scipy's jensenshannon makes NaN
