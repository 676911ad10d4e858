"""The loss of a fit over all its samples, with its normal equations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diffnum.calibration.hosts import Host
from diffnum.calibration.losses import Goal, cauchy
from diffnum.calibration.sensitivities import Native, run, run_with_tangents
from diffnum.calibration.weights import SolverSpace
from diffnum.types import Array, FloatArray

__all__ = ["SumOfSquares", "last"]


@dataclass(frozen=True, eq=False)
class SumOfSquares:
    """Loss of a vector of the space over all chunks, relative to the size of what is aimed at.

    Parameters
    ----------
    host : Host
        Where the model lives.
    space : SolverSpace
        Space of samplers.
    vector : ndarray, shape (space.size,)
        Where the numbers that are not free stand.
    parts, x, goals : sequences
        Model, first states, and what is aimed at, of each chunk.
    cut : float or None
        Where a sample stops counting in full (:func:`diffnum.calibration.losses.cauchy`), relative to the size of a
        sample; None for the sum of squares.
    """

    host: Host
    space: SolverSpace
    vector: FloatArray
    parts: tuple[Any, ...]
    x: list[Array]
    goals: tuple[Goal, ...]
    cut: float | None = None

    def whole(self, theta: FloatArray) -> FloatArray:
        """Whole vector, the fixed numbers included."""
        full = self.vector.copy()
        full[self.space.mask] = theta
        return full

    @cached_property
    def size(self) -> float:
        """What the sum of squares is divided by."""
        return sum(goal.size(self.host.numpy) for goal in self.goals)

    def natives(self) -> Iterator[tuple[Native, Array, Goal]]:
        """Chunks."""
        for part, x, goal in zip(self.parts, self.x, self.goals, strict=True):
            yield Native(self.host.differentiable(part), self.space.form.prediction), x, goal

    def judged(self, r: FloatArray) -> tuple[float, FloatArray]:
        """Loss of a chunk, and how much each sample, along the first axis, counts in its normal equations."""
        squares = np.asarray((r.reshape(len(r), -1) ** 2).sum(axis=1))
        if self.cut is None:
            return float(squares.sum()), np.ones(len(r))
        return cauchy(squares, self.cut**2 * self.size / sum(map(len, self.x)))

    def loss(self, theta: FloatArray) -> float:
        """Sum of squares."""
        full = self.whole(theta)
        if not self.space.valid(full):
            return math.inf
        numbers, total = self.space.numbers(full), 0.0
        for native, x, goal in self.natives():
            states = list(run(native, numbers, x)) if goal.whole else [last(run(native, numbers, x))]
            r = self.host.numpy(goal.residuals(states, numbers))
            total += self.judged(r.reshape((len(x), -1)) if self.cut else r[None])[0]
        return total / self.size if math.isfinite(total) else math.inf

    def linearise(self, theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Sum of squares and normal equations."""
        full = self.whole(theta)
        numbers, slopes = self.space.numbers(full), self.space.slopes(full)
        total, gradient, gram = 0.0, np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
        for native, x, goal in self.natives():
            pairs = run_with_tangents(native, numbers, slopes, x)
            kept = list(pairs) if goal.whole else [last(pairs)]
            states, along = [p[0] for p in kept], [p[1] for p in kept]
            r = self.host.numpy(goal.residuals(states, numbers))
            jacobian = self.host.numpy(goal.tangents(states, along, numbers, slopes))
            value, factors = self.judged(r.reshape((len(x), -1)) if self.cut else r[None])
            total += value
            weighted = jacobian * np.repeat(factors, len(r) // len(factors)) if self.cut else jacobian
            gradient += weighted @ r
            gram += weighted @ jacobian.T
        if not math.isfinite(total + float(gram.sum())):
            msg = "the model, or its derivatives, returned NaN or infinity on the way: check its weights"
            raise ValueError(msg)
        return total / self.size, gradient / self.size, gram / self.size


def last(values: Iterator[Any]) -> Any:
    """Last of a run."""
    value = None
    for value in values:  # noqa: B007
        pass
    return value
