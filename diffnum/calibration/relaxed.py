"""Relaxed starts: each noise may move a little before the run, so that the end points can be met at all.

A few evaluations cannot follow the flow, but they may carry a slightly other noise to the right place: what counts for
samples is the law of the end points, not which noise leads to which. The fit then looks for the plan that is best after
the best moves; its errors are still measured from the noises as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from diffnum.calibration.descent import SumOfSquares, last
from diffnum.calibration.hosts import Host
from diffnum.calibration.sensitivities import Native, run
from diffnum.calibration.weights import Numbers
from diffnum.types import Array, FloatArray

__all__ = ["RelaxedSum"]

_MOVES = 3
"""Gradient steps of each start, from where the noise is, at every new point of the fit."""


@dataclass(eq=False)
class RelaxedSum:
    """The loss of a fit after its starts have moved within a radius.

    Parameters
    ----------
    plain : SumOfSquares
        The loss from given starts, held against end points.
    radius : float
        How far a start may move, relative to its norm.

    References
    ----------
    Tong et al., LD3, arXiv:2405.15506, who move the starts along with the times, by one gradient step each.
    """

    plain: SumOfSquares
    radius: float
    moved: SumOfSquares = field(init=False)

    def __post_init__(self) -> None:
        self.moved = self.plain

    def loss(self, theta: FloatArray) -> float:
        """Sum of squares from the starts as the last linearisation moved them."""
        return self.moved.loss(theta)

    def linearise(self, theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Move the starts for this point, which they depend on alone, and linearise there."""
        numbers = self.plain.space.numbers(self.plain.whole(theta))
        states = [
            self._moved(part, native, numbers, x, goal)
            for part, (native, x, goal) in zip(self.plain.parts, self.plain.natives(), strict=True)
        ]
        self.moved = replace(self.plain, x=states)
        return self.moved.linearise(theta)

    def _moved(self, part: Any, native: Native, numbers: Numbers, start: Array, goal: Any) -> Array:
        """Starts after a few steps of steepest descent, each sample its own, projected into the ball."""
        host, x = self.plain.host, start
        reach = self.radius * _norms(host, start)
        for _ in range(_MOVES):
            end = last(run(native, numbers, x))
            gradient = host.pull(part, native.prediction, numbers, x, end - goal.target)
            size = np.maximum(_norms(host, gradient), 1e-300)
            step = 1e-3 * _norms(host, x) / size  # a difference, not a derivative: it only sets the length of the step
            ahead = last(run(native, numbers, x + _beside(host, step, x) * gradient))
            curvature = np.maximum((_norms(host, ahead - end) / step) ** 2, 1e-300)
            x = x - _beside(host, size**2 / curvature, x) * gradient
            far = _norms(host, x - start)
            x = start + _beside(host, np.minimum(1.0, reach / np.maximum(far, 1e-300)), x) * (x - start)
        return x


def _norms(host: Host, x: Array) -> FloatArray:
    """Norm of each sample, shape (n,)."""
    return np.asarray(np.linalg.norm(host.numpy(x).reshape(len(x), -1), axis=1))


def _beside(host: Host, factors: FloatArray, x: Array) -> Array:
    """One number a sample, beside a batch."""
    return host.array(factors.reshape(-1, *(1,) * (x.ndim - 1)))
