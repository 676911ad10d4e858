"""Elementary functions of float32 rounded correctly, so that tables and their hashes are the same on every machine.

The names are those of numpy and torch that :mod:`diffnum.plans.as_shipped` uses; sums, products, quotients and roots of
float32 numbers are correct by IEEE 754.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Final

import mpmath
import numpy as np

__all__ = ["CORRECT"]

_DIGITS = 40
"""Beyond float32's 7: no rounding is left undecided by that."""


def _function(exact: Callable[[Any], Any], beyond: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Function of a float32 scalar; zero and infinity are left to numpy."""

    def rounded(value: Any) -> Any:
        x = float(value)
        if x == 0.0 or not math.isfinite(x):
            return np.float32(beyond(np.float64(x)))
        with mpmath.workdps(_DIGITS):
            return np.float32(_nearest(exact(mpmath.mpf(x))))

    return rounded


def _nearest(value: Any) -> float:
    """Nearest float32 of an mpmath number, in one rounding."""
    if abs(value) > 1e38 or abs(value) < 1e-37:
        return float(value)
    with mpmath.workprec(24):
        return float(+value)


def _solve(matrix: Any, right: Any) -> Any:
    """Solution of a small linear system of float32 numbers, exact before it is rounded."""
    rows = [[Fraction(float(a)) for a in row] + [Fraction(float(b))] for row, b in zip(matrix, right, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = next((row for row in rows[i:] if row[i] != 0), None)
        if pivot is None:
            msg = "levels twice: the nodes of a step must differ"
            raise ValueError(msg)
        rows.remove(pivot)
        rows.insert(i, [a / pivot[i] for a in pivot])
        for j in (j for j in range(n) if j != i):
            rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    with mpmath.workdps(_DIGITS):
        return [np.float32(_nearest(mpmath.mpf(row[-1].numerator) / row[-1].denominator)) for row in rows]


def _stacked(values: Sequence[Any]) -> Any:
    return np.stack([np.asarray(value, dtype=np.float32) for value in values])


CORRECT: Final[Any] = SimpleNamespace(
    float32=np.float32,
    asarray=np.asarray,
    log=_function(mpmath.log, np.log),
    exp=_function(mpmath.exp, np.exp),
    expm1=_function(mpmath.expm1, np.expm1),
    sqrt=np.sqrt,
    stack=_stacked,
    ones_like=np.ones_like,
    linalg=SimpleNamespace(solve=_solve),
)
"""The functions as a namespace."""
