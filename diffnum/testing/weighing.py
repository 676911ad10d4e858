"""Value and gradient of a weighted regression, and what people put in the place of its square and of its weights.

Robust distances and adaptive weights are no slips, but another loss than the plain one: a user is told which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from diffnum.types import FloatArray

__all__ = [
    "ABSOLUTE",
    "NOTHING",
    "ROBUST",
    "SQUARE",
    "STUDENT",
    "TARGET",
    "Crossing",
    "Distance",
    "Outcome",
    "multipliers",
    "regress",
]


class Outcome(NamedTuple):
    """Value of a loss and its gradient."""

    value: float
    gradient: FloatArray


class Distance(NamedTuple):
    """A function of output minus target, and what stands for its derivative."""

    value: Callable[[FloatArray], FloatArray]
    slope: Callable[[FloatArray], FloatArray]


SQUARE = Distance(np.square, lambda gap: 2.0 * gap)
ABSOLUTE = Distance(np.abs, np.sign)


def _pseudo_huber(c: float) -> Distance:
    return Distance(lambda g: np.sqrt(g * g + c * c) - c, lambda g: g / np.sqrt(g * g + c * c))


def _huber(c: float) -> Distance:
    """Smooth L1 as torch has it, up to a factor."""
    return Distance(
        lambda g: np.where(np.abs(g) < c, g * g, 2.0 * c * np.abs(g) - c * c), lambda g: 2.0 * np.clip(g, -c, c)
    )


def _cauchy(c: float) -> Distance:
    return Distance(lambda g: np.log1p(g * g / (c * c)), lambda g: 2.0 * g / (c * c + g * g))


def _adaptive(power: float) -> Callable[[float], Distance]:
    """Square over a power of itself that is held still."""
    return lambda c: Distance(lambda g: g * g / (g * g + c) ** power, lambda g: 2.0 * g / (g * g + c) ** power)


ROBUST: Mapping[str, Callable[[float], Distance]] = MappingProxyType(
    {
        "the distance is the pseudo-Huber one, sqrt(e^2 + c^2) - c, instead of the square": _pseudo_huber,
        "the distance is Huber's (smooth L1) instead of the square, with its corner at c": _huber,
        "the distance is log(1 + e^2 / c^2) instead of the square": _cauchy,
        "the square is divided by e^2 + c, held still: an adaptive weight": _adaptive(1.0),
        "the square is divided by the root of e^2 + c, held still: an adaptive weight": _adaptive(0.5),
    }
)
"""What stands for the square, to its distance for a constant c."""

Crossing = Literal["", "outputs", "targets"]
"""What lies in a row where the rest are columns."""

TARGET, NOTHING, STUDENT = "target", "nothing", "student"
"""What a loss holds still."""


def regress(
    outputs: FloatArray,
    basis: FloatArray,
    targets: FloatArray,
    weight: FloatArray | float = 1.0,
    moved: FloatArray | None = None,
    *,
    still: str = TARGET,
    distance: Distance = SQUARE,
    rows: FloatArray | float = 1.0,
    crossed: Crossing = "",
) -> Outcome:
    """Mean of ``rows weight distance(output - target)`` and its gradient; ``moved``: derivative of the targets.

    With ``crossed`` each output meets each target, as where one has the shape (n,) and the other (n, 1): the weight is
    that of the other's row.
    """
    if crossed:
        n = len(outputs)
        shared = np.broadcast_to(np.asarray(weight * rows, dtype=np.float64).reshape(-1, 1), (n, 1))
        inner, outer = np.tile(np.arange(n), n), np.repeat(np.arange(n), n)
        mine, theirs = (inner, outer) if crossed == "outputs" else (outer, inner)
        return regress(outputs[mine], basis[mine], targets[theirs], shared[outer], still=still, distance=distance)
    gap = outputs - targets
    share = np.broadcast_to(np.asarray(weight * rows, dtype=np.float64).reshape(-1, 1), gap.shape) / len(gap)
    of_target = np.zeros_like(basis) if moved is None else moved
    slope = {TARGET: basis, NOTHING: basis - of_target, STUDENT: -of_target}[still]
    return Outcome(
        float(np.sum(share * distance.value(gap))), np.asarray(slope.T @ (share * np.asarray(distance.slope(gap))))
    )


def multipliers(late: FloatArray, early: FloatArray, weight: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """What rows may be multiplied by besides, and its name; rectified flow has alpha = 1 - t and sigma = t."""
    alpha, sigma, snr = 1.0 - late, late, ((1.0 - late) / late) ** 2
    yield "max(SNR, 1)", np.maximum(snr, 1.0)
    yield "min(SNR, 5)", np.minimum(snr, 5.0)
    yield "min(SNR, 5) / SNR", np.minimum(snr, 5.0) / snr
    yield "1 / (1 + SNR)", 1.0 / (1.0 + snr)
    yield "1 + SNR", 1.0 + snr
    yield "one over the weight's root", weight**-0.5
    yield "one over the square of the weight, which divides where it should multiply", weight**-2.0
    for a, b, c in product((0, 1, -1, 2, -2), repeat=3):
        parts = [
            (name if power == 1 else f"{name}^{power}", base**power)
            for name, base, power in (("alpha", alpha, a), ("sigma", sigma, b), ("(t - s)", late - early, c))
            if power
        ]
        if parts:
            yield " ".join(name for name, _ in parts), np.prod([factor for _, factor in parts], axis=0)
