r"""Consistency losses: distillation, training, and their continuous limit.

The consistency function of a student u is ``f(x, t) = x - (t - e) u(x, t, e)``: at the end ``e`` it is the identity,
whatever is trained. Its value at ``(x_t, t)`` is regressed on its own value, held still, at a nearby less noisy state
of the same trajectory (Song et al. 2023, arXiv:2303.01469, algorithms 2 and 3):

- *distillation*: one step of a solver with the teacher's velocity; rests at the solver's own map, bias of its order;
- *training*: ``alpha_s x_0 + sigma_s eps`` with the same datum and noise; rests at a chain of conditional means, with
  bias of order 1;
- *continuous* (sCM; Lu and Song 2024, arXiv:2410.11081): the derivative itself, no bias. The conditional velocity may
  stand for the exact one, since the gradient is linear in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.checks import checked_times
from diffnum.distillation.maps import FlowMap
from diffnum.distillation.quadrature import Pairs
from diffnum.distillation.students import (
    FeatureStudent,
    RegressionTerms,
    checked_flow,
    checked_levels,
    stacked,
    velocity_of,
)
from diffnum.jobs.checked import check_schedule
from diffnum.problems import Gaussian
from diffnum.types import FloatArray, Schedule

__all__ = [
    "ConsistencyLoss",
    "ContinuousConsistency",
    "consistency_distillation",
    "consistency_training",
    "continuous_consistency",
    "trained_gains",
]

Step = Callable[[FlowMap, FloatArray, float, float], FloatArray]


def _euler(flow: FlowMap, x: FloatArray, t: float, s: float) -> FloatArray:
    return np.asarray(x + (s - t) * flow.velocity(x, t))


def _heun(flow: FlowMap, x: FloatArray, t: float, s: float) -> FloatArray:
    v = flow.velocity(x, t)
    return np.asarray(x + 0.5 * (s - t) * (v + flow.velocity(x + (s - t) * v, s)))


SOLVERS: Mapping[str, Step] = MappingProxyType({"euler": _euler, "heun": _heun, "exact": FlowMap.__call__})
"""Steps of the teacher, by name."""


def _image(student: FeatureStudent, x: FloatArray, t: float, end: float) -> tuple[FloatArray, FloatArray]:
    """Consistency function and its derivative with respect to the coefficients."""
    basis = -(t - end) * student.basis(x, t, end)
    return x + basis @ student.coefficients, basis


@dataclass(frozen=True, eq=False)
class ConsistencyLoss:
    """Discrete consistency loss; made by :func:`consistency_distillation` and :func:`consistency_training`.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    levels : tuple of (float, float)
        Pairs of neighbouring times (t, s), s below t.
    end : float
        Where the consistency function is the identity.
    flow : FlowMap or None
        Exact flow of the data; None for training, where both states share their datum and noise.
    solver : {"euler", "heun", "exact", ""}
        Step of the teacher from t to s; "" for training.
    weight : callable
        Weight of ``(t, s)``.
    """

    schedule: Schedule
    levels: tuple[tuple[float, float], ...]
    end: float
    flow: FlowMap | None
    solver: str
    weight: Callable[[float, float], float]

    def terms(self, student: FeatureStudent, pairs: Pairs) -> RegressionTerms:
        """See :class:`diffnum.distillation.RegressionLoss`."""
        parts = []
        for t, s in self.levels:
            x = pairs.at(self.schedule, t)
            outputs, basis = _image(student, x, t, self.end)
            targets, moved = _image(student, self._neighbour(pairs, x, t, s), s, self.end)
            share = self.weight(t, s) / len(self.levels) * pairs.weights
            parts.append(RegressionTerms(outputs, targets, share, basis, lambda force, b=moved: b.T @ force))  # type: ignore[misc]
        return stacked(parts)

    def _neighbour(self, pairs: Pairs, x: FloatArray, t: float, s: float) -> FloatArray:
        """State at s: one step of the teacher, or without one the same datum and noise."""
        return pairs.at(self.schedule, s) if self.flow is None else SOLVERS[self.solver](self.flow, x, t, s)


@dataclass(frozen=True, eq=False)
class ContinuousConsistency:
    """Continuous-time consistency loss; made by :func:`continuous_consistency`.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    times : tuple of float
        Times, weighted equally.
    end : float
        Where the consistency function is the identity.
    flow : FlowMap or None
        Exact flow, whose velocity is used; None for the conditional one.
    weight : callable
        Weight of ``t``.
    """

    schedule: Any
    times: tuple[float, ...]
    end: float
    flow: FlowMap | None
    weight: Callable[[float], float]

    def terms(self, student: FeatureStudent, pairs: Pairs) -> RegressionTerms:
        """RegressionTerms whose gradient is ``2 E[w (df/dtheta)^T df/dt]``; their value is ``E[w |df/dt|^2]``."""
        parts = []
        for t in self.times:
            x = pairs.at(self.schedule, t)
            v = velocity_of(self.schedule, self.flow, pairs, x, t)
            outputs, basis = _image(student, x, t, self.end)
            turned = -(t - self.end) * student.tangent(x, t, self.end, v, 1.0) - student.basis(x, t, self.end)
            rate = v + turned @ student.coefficients
            share = self.weight(t) / len(self.times) * pairs.weights
            moved = basis - turned
            parts.append(RegressionTerms(outputs, outputs - rate, share, basis, lambda force, b=moved: b.T @ force))  # type: ignore[misc]
        return stacked(parts)


def _one(*_: float) -> float:
    return 1.0


def consistency_distillation(
    flow: FlowMap,
    levels: ArrayLike,
    *,
    solver: str = "heun",
    end: float | None = None,
    weight: Callable[[float, float], float] = _one,
) -> ConsistencyLoss:
    """Consistency distillation from the exact velocity of a problem.

    Parameters
    ----------
    flow : FlowMap
        Exact flow of the data.
    levels : array_like, shape (k, 2)
        Pairs of neighbouring times (t, s), s below t.
    solver : {"euler", "heun", "exact"}
        Step of the teacher from t to s.
    end : float, optional
        Where the consistency function is the identity; ``schedule.t_min`` by default.
    weight : callable
        Weight of ``(t, s)``; 1 by default.

    Returns
    -------
    ConsistencyLoss

    Raises
    ------
    ValueError
        If the solver is unknown, or times are out of order or outside the domain.
    TypeError
        If the flow is no exact one.
    """
    if solver not in SOLVERS:
        msg = f"solver={solver!r} is not known: use one of {', '.join(map(repr, SOLVERS))}"
        raise ValueError(msg)
    end = checked_flow(flow).schedule.t_min if end is None else end
    levels = tuple(checked_levels(levels, "t", "s", flow.schedule, end))
    return ConsistencyLoss(flow.schedule, levels, end, flow, solver, weight)


def consistency_training(
    schedule: Schedule,
    levels: ArrayLike,
    *,
    end: float | None = None,
    weight: Callable[[float, float], float] = _one,
) -> ConsistencyLoss:
    """Consistency training: both states share their datum and noise, and no teacher is needed.

    Parameters
    ----------
    schedule, levels, end, weight
        As for :func:`consistency_distillation`.

    Returns
    -------
    ConsistencyLoss
    """
    check_schedule(schedule)
    end = schedule.t_min if end is None else end
    levels = tuple(checked_levels(levels, "t", "s", schedule, end))
    return ConsistencyLoss(schedule, levels, end, None, "", weight)


def continuous_consistency(
    schedule: Any,
    times: Sequence[float],
    *,
    flow: FlowMap | None = None,
    end: float | None = None,
    weight: Callable[[float], float] = _one,
) -> ContinuousConsistency:
    """Consistency loss in continuous time.

    Parameters
    ----------
    schedule : Schedule
        Noising process.
    times : sequence of float
        Noise levels, weighted equally.
    flow : FlowMap, optional
        Exact flow, for distillation; without it the conditional velocity of each pair is used, as in training.
    end : float, optional
        Where the consistency function is the identity; ``schedule.t_min`` by default.
    weight : callable
        Weight of ``t``; 1 by default.

    Returns
    -------
    ContinuousConsistency

    Raises
    ------
    ValueError
        If a time lies outside the domain, or not after the end.
    """
    nodes, end = np.asarray(checked_times(schedule, times)), schedule.t_min if end is None else end
    if np.any(nodes <= end):
        msg = (
            f"times has {float(nodes[nodes <= end][0])!r}, and the student is the identity at {end!r}: use later times"
        )
        raise ValueError(msg)
    known = None if flow is None else checked_flow(flow)
    return ContinuousConsistency(schedule, tuple(nodes.tolist()), end, known, weight)


def trained_gains(problem: Gaussian, schedule: Schedule, times: Sequence[float], by: str = "training") -> FloatArray:
    r"""Slope of the consistency function where discrete training of a free student rests, for Gaussian data.

    Between neighbouring times the resting point obeys ``f(x_t, t) = E[f(x_s, s) | x_t]`` (training) or ``f(x_t, t) =
    f(step(x_t), s)`` (distillation); on Gaussian data both are affine, with slope a product of one number a step.

    Parameters
    ----------
    problem : Gaussian
        Data; slopes are in the order of its eigenvalues.
    schedule : Schedule
        Noising process, with ``rates``.
    times : sequence of float
        Neighbouring times, decreasing; the consistency function is the identity at the last.
    by : {"training", "euler", "heun", "exact"}
        How it was trained.

    Returns
    -------
    ndarray, shape (d,)
        Slope from the first time to the last; exact: the square root of the quotient of variances.

    Raises
    ------
    ValueError
        If times are out of order or ``by`` is unknown.
    """
    if by not in _GAINS:
        msg = f"by={by!r} is not known: use one of {', '.join(map(repr, _GAINS))}"
        raise ValueError(msg)
    pairs = checked_levels(np.column_stack([times[:-1], times[1:]]), "t", "s", schedule)
    gains = [_GAINS[by](problem.eigenvalues, schedule, t, s) for t, s in pairs]
    return np.asarray(np.prod(gains, axis=0))


def _rate(c: FloatArray, schedule: Any, t: float) -> FloatArray:
    """Slope of the velocity in an eigendirection: the derivative of the logarithm of the standard deviation."""
    alpha, (slope, noising) = float(schedule.alpha(t)), schedule.rates(t)
    return np.asarray((alpha * slope * c + noising) / (alpha**2 * c + float(schedule.sigma(t)) ** 2))


def _training_gain(c: FloatArray, schedule: Any, t: float, s: float) -> FloatArray:
    alpha, sigma, early, less = (float(f(at)) for at in (t, s) for f in (schedule.alpha, schedule.sigma))
    return np.asarray((alpha * early * c + sigma * less) / (alpha**2 * c + sigma**2))


def _heun_gain(c: FloatArray, schedule: Any, t: float, s: float) -> FloatArray:
    first, second = _rate(c, schedule, t), _rate(c, schedule, s)
    return np.asarray(1.0 + 0.5 * (s - t) * (first + second * (1.0 + (s - t) * first)))


def _exact_gain(c: FloatArray, schedule: Any, t: float, s: float) -> FloatArray:
    here, there = (float(schedule.alpha(at)) ** 2 * c + float(schedule.sigma(at)) ** 2 for at in (t, s))
    return np.asarray(np.sqrt(there / here))


_GAINS: Mapping[str, Callable[[FloatArray, Any, float, float], FloatArray]] = MappingProxyType(
    {
        "training": _training_gain,
        "euler": lambda c, schedule, t, s: 1.0 + (s - t) * _rate(c, schedule, t),
        "heun": _heun_gain,
        "exact": _exact_gain,
    }
)
