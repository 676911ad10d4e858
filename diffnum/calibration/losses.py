"""What is made small: distances of a run from the teacher's, as residuals with derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from diffnum.calibration.weights import Numbers, Slopes
from diffnum.schedules import nearest_time
from diffnum.types import Array, FloatArray, Schedule

__all__ = ["LOSSES", "EndpointGoal", "FeatureGoal", "Goal", "TrajectoryGoal", "cauchy"]

LOSSES = ("endpoint", "robust", "relaxed", "trajectory", "features")
"""End points; end points, where samples that went elsewhere count less; end points from starts that may move a little;
all states on the way; features of the end points."""


def cauchy(squares: FloatArray, cut: float) -> tuple[float, FloatArray]:
    r"""Cauchy's loss, and the weights with which iteratively reweighted least squares makes it small.

    A sample of squared error :math:`s` costs :math:`c\log(1 + s/c)`, its square where it is near, hardly more than its
    neighbours where it went to another mode: which noises do is no smooth function of a plan's numbers, and a fit that
    counts them in full learns the noises of the fit.

    Parameters
    ----------
    squares : ndarray, shape (n,)
        Squared error of each sample.
    cut : float
        Squared error :math:`c` at which a sample counts half.

    Returns
    -------
    loss : float
        Its sum.
    weights : ndarray, shape (n,)
        Derivatives by the squares.

    References
    ----------
    Holland and Welsch, Commun. Stat. A 6 (1977) 813, for the loss and its weights.
    """
    return float(cut * np.log1p(squares / cut).sum()), 1.0 / (1.0 + squares / cut)


class Goal(Protocol):
    """What a chunk of samples is held against."""

    @property
    def whole(self) -> bool:
        """Whether the states on the way are looked at."""

    def size(self, numpy: Callable[[Array], FloatArray]) -> float:
        """What the sum of squares is to be divided by, for a relative error."""

    def residuals(self, states: Sequence[Array], numbers: Numbers) -> Array:
        """Residuals, shape (m,), from the states after each step (the last alone unless ``whole``)."""

    def tangents(self, states: Sequence[Array], along: Sequence[Array], numbers: Numbers, slopes: Slopes) -> Array:
        """Their derivatives, shape (p, m), from those of the states."""


@dataclass(frozen=True, eq=False)
class EndpointGoal:
    """Squared distance of the end points."""

    target: Array
    whole: bool = False

    def size(self, numpy: Callable[[Array], FloatArray]) -> float:
        """Sum of squares of the end points."""
        return float((numpy(self.target) ** 2).sum())

    def residuals(self, states: Sequence[Array], numbers: Numbers) -> Array:  # noqa: ARG002
        """Differences of the end points."""
        return (states[-1] - self.target).reshape(-1)

    def tangents(self, states: Sequence[Array], along: Sequence[Array], numbers: Numbers, slopes: Slopes) -> Array:  # noqa: ARG002
        """Derivatives of the last state."""
        return along[-1].reshape((len(along[-1]), -1))


@dataclass(frozen=True, eq=False)
class FeatureGoal:
    """Squared distance of features of the end points.

    Parameters
    ----------
    target : array, shape (n, m)
        Features of the teacher's end points.
    features : callable
        Differentiable function from states to features, shape (n, m).
    push : callable
        ``push(features, x, tangents)``: its derivatives along tangents.
    """

    target: Array
    features: Callable[[Array], Array]
    push: Callable[[Callable[[Array], Array], Array, Array], Array]
    whole: bool = False

    def size(self, numpy: Callable[[Array], FloatArray]) -> float:
        """Sum of squares of the features."""
        return float((numpy(self.target) ** 2).sum())

    def residuals(self, states: Sequence[Array], numbers: Numbers) -> Array:  # noqa: ARG002
        """Differences of the features."""
        return (self.features(states[-1]) - self.target).reshape(-1)

    def tangents(self, states: Sequence[Array], along: Sequence[Array], numbers: Numbers, slopes: Slopes) -> Array:  # noqa: ARG002
        """Derivatives of the features."""
        return self.push(self.features, states[-1], along[-1]).reshape((len(along[-1]), -1))


@dataclass(frozen=True, eq=False)
class TrajectoryGoal:
    """Squared distance of every state from the teacher's at its level, each in units of the marginal's size.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    levels : ndarray, shape (k,)
        Half-log-SNRs at which the teacher's states are kept, increasing, at least 4.
    kept : sequence of arrays
        States there, less the mean of the process.
    """

    schedule: Schedule
    levels: FloatArray
    kept: Sequence[Array]
    whole: bool = True

    def size(self, numpy: Callable[[Array], FloatArray]) -> float:
        """Number of entries of a state: the states themselves are in units of their size."""
        return float(numpy(self.kept[0]).size)

    def residuals(self, states: Sequence[Array], numbers: Numbers) -> Array:
        """Differences of all states."""
        parts = [
            ((state - self._state(level)) / self._size(level)).reshape(-1)
            for state, level in zip(states, numbers.levels[1:].tolist(), strict=True)
        ]
        return _joined(parts)

    def tangents(self, states: Sequence[Array], along: Sequence[Array], numbers: Numbers, slopes: Slopes) -> Array:
        """Derivatives; a state whose level moves is held against another state of the teacher."""
        parts, reach = [], 1e-4
        for n, (state, tangent) in enumerate(zip(states, along, strict=True), start=1):
            level, turning = float(numbers.levels[n]), slopes.levels[:, n]
            part = tangent / self._size(level)
            for i in np.flatnonzero(turning).tolist():
                low, high = max(level - reach, self.levels[0]), min(level + reach, self.levels[-1])
                scaled = [(state - self._state(at)) / self._size(at) for at in (low, high)]
                part[i] = part[i] + float(turning[i]) * (scaled[1] - scaled[0]) / (high - low)
            parts.append(part.reshape((len(part), -1)))
        return _joined(parts)

    def _size(self, level: float) -> float:
        """Standard deviation of the marginal of data with unit variance."""
        t = nearest_time(self.schedule, level)
        return float(np.hypot(self.schedule.alpha(t), self.schedule.sigma(t)))

    def _state(self, level: float) -> Array:
        """Teacher's state at a level, interpolated by a cubic through four neighbours."""
        at = int(np.clip(np.searchsorted(self.levels, level) - 2, 0, len(self.levels) - 4))
        nodes = self.levels[at : at + 4]
        total: Any = 0.0
        for j, node in enumerate(nodes.tolist()):
            others = np.delete(nodes, j)
            weight = float(np.prod((level - others) / (node - others)))
            total = total + (weight / self._size(node)) * self.kept[at + j]
        return total * self._size(level)


def _joined(parts: Sequence[Array]) -> Array:
    """Residuals of all states along the last axis."""
    from array_api_compat import array_namespace

    return array_namespace(parts[0]).concat(parts, axis=-1)
