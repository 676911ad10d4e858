"""Order of a Runge-Kutta tableau by the conditions of its rooted trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffnum.derivation.algebra.trees import order_conditions


def runge_kutta_order(
    a: Sequence[Sequence[Any]], b: Sequence[Any], c: Sequence[Any] | None = None, highest: int = 8
) -> int:
    """Order of an exact tableau, ``highest`` at most."""
    failing = (tree.order for tree, residual in order_conditions(a, b, c, highest) if residual != 0)
    return min(failing, default=highest + 1) - 1
