"""As many retain samples as a share of them makes, but the same number of every class, at random.

A client that has fewer of a class gives all of them, and the others make up for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedunlearn.select.base import Budget, Selector, allotted, evenly
from fedunlearn.select.random import choose


def allot(sizes: Sequence[int], settings: Budget) -> list[int]:
    """As even as what there is of each class allows."""
    return evenly(sizes, sum(allotted(sizes, settings)))


SELECTORS = {
    "class_balanced": Selector(
        "class_balanced", Budget, choose, allot, looks=False, about="as many of every class, at random"
    )
}
