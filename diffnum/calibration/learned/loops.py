"""The loops of learned solvers, with their numbers as arguments: each is linear in states and evaluations.

``model(x, t, told)`` answers in the prediction that the docstring names; t is the time of the state, and ``told`` what
the network is told where that is another time. x is anything that can be added and multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from diffnum.types import FloatArray, Schedule

__all__ = ["dyweight", "epd", "generalized_solver", "neural_solver_flow", "neural_solver_vp"]

Model = Callable[..., Any]


def neural_solver_flow(model: Model, x: Any, deltas: Sequence[float], rows: Sequence[Sequence[float]]) -> Any:
    """NeuralSolver on rectified flows, for the velocity eps - x_0 (the authors' time runs the other way).

    Parameters
    ----------
    model : callable
        Velocity.
    x : array
        Noise.
    deltas : sequence of float
        Steps in time.
    rows : sequence of sequence of float
        Weights of the evaluations before the newest, which has what is missing to 1.

    Returns
    -------
    array, shape of ``x``
        End of the run.

    References
    ----------
    Wang et al., arXiv:2505.21114; MCG-NJU/NeuralSolver at 71887944, src/diffusion/flow_matching/ns_sampling.py.
    """
    t, values = 1.0, []
    for delta, row in zip(deltas, rows, strict=True):
        values.append(model(x, t))
        x = x - delta * _mixed(row, values)
        t -= delta
    return x


def neural_solver_vp(
    model: Model,
    x: Any,
    deltas: Sequence[float],
    rows: Sequence[Sequence[float]],
    schedule: Schedule,
    *,
    as_shipped: bool = False,
) -> Any:
    """NeuralSolver on a variance-preserving process, for data prediction.

    Parameters
    ----------
    model : callable
        Data prediction.
    x : array
        Noise at t = 0.999.
    deltas, rows : sequence
        As in :func:`neural_solver_flow`.
    schedule : Schedule
        The process; its times are clipped to [0.001, 1], as in the authors' scheduler.
    as_shipped : bool
        As the code stands: every evaluation is kept twice, so that the weights fall on others than those for which they
        were found, and every step is taken once more with the newest evaluation alone.

    Returns
    -------
    array, shape of ``x``
        End of the run.

    References
    ----------
    MCG-NJU/NeuralSolver at 71887944, src/diffusion/ddpm/ns_sampling.py, NeuralSolverSampler._impl_sampling.
    """
    t, values = 0.999, []
    for i, (delta, row) in enumerate(zip(deltas, rows, strict=True)):
        alpha, sigma = _levels(schedule, t)
        after, after_sigma = _levels(schedule, t - delta)
        carry, step = after_sigma / sigma, after_sigma * (after / after_sigma - alpha / sigma)
        newest = model(x, t)
        values.append(newest)
        slope = _mixed(row, values) if not as_shipped else _shipped(row, values, i)
        x = carry * x + step * slope
        if as_shipped:
            values.append(newest)
            x = carry * x + step * newest
        t -= delta
    return x


def _levels(schedule: Schedule, t: float) -> tuple[float, float]:
    inside = min(max(t, 1e-3), 1.0)
    return float(schedule.alpha(inside)), float(schedule.sigma(inside))


def _mixed(row: Sequence[float], values: Sequence[Any]) -> Any:
    """Weights on the past, the rest on the newest evaluation."""
    total = (1.0 - sum(row)) * values[-1]
    for weight, value in zip(row, values, strict=False):
        total = total + weight * value
    return total


def _shipped(row: Sequence[float], values: Sequence[Any], i: int) -> Any:
    """The same where the list of evaluations has each twice."""
    total = (1.0 - sum(row)) * values[-1]
    for j in range(i):
        total = total + row[j] * values[j]
    return total


def dyweight(
    model: Model,
    x: Any,
    weights: FloatArray,
    sigmas: Sequence[float],
    scales: Sequence[float] | None = None,
    *,
    analytic_first: bool = False,
) -> Any:
    """DyWeight, for the data prediction on a variance-exploding process.

    Parameters
    ----------
    model : callable
        Data prediction.
    x : array
        Noise of standard deviation ``sigmas[0]``.
    weights : ndarray, shape (n, n)
        Lower triangular; rows need not sum to 1: the state's level moves by the sum.
    sigmas : sequence of float, length n + 1
        Nominal levels.
    scales : sequence of float, optional
        Factors on the level that the network is told.
    analytic_first : bool
        The first slope is ``x/sqrt(1 + sigma^2)``, without an evaluation.

    Returns
    -------
    array, shape of ``x``
        End of the run.

    References
    ----------
    Zhao et al., DyWeight; Westlake-AGI-Lab/DyWeight at 620534e3, solvers.py, dyweight_sampler.
    """
    slopes: list[Any] = []
    level = float(sigmas[0])
    for i, after in enumerate(sigmas[1:]):
        if analytic_first and i == 0:
            slopes.append(x * (1.0 / np.sqrt(1.0 + level**2)))
        else:
            k = i - analytic_first
            told = abs((scales[k] if scales is not None and 0 <= k < len(scales) else 1.0) * level)
            slopes.append((x - model(x, level, told)) * (1.0 / (level + 1e-8)))
        step = float(after) - level
        for weight, slope in zip(weights[i, : i + 1].tolist(), slopes, strict=True):
            x = x + step * weight * slope
        level += float(weights[i, : i + 1].sum()) * step
    return x


def generalized_solver(
    model: Model,
    x: Any,
    times: Sequence[float],
    schedule: Schedule,
    shifts: Sequence[float],
    weights: FloatArray,
    carries: FloatArray,
) -> Any:
    """GS: DPM-Solver++(3M) with additive corrections, all states of its window included, for noise prediction.

    Parameters
    ----------
    model : callable
        Noise prediction.
    x : array
        Noise.
    times : sequence of float, length n + 1
        Times of the states, decreasing.
    schedule : Schedule
        A variance-preserving process.
    shifts : sequence of float, length n
        What is added to the time that the network is told.
    weights, carries : ndarray, shape (n, order)
        Corrections of the weights of data predictions (and their differences) and of states, newest first.

    Returns
    -------
    array, shape of ``x``
        End of the run.

    References
    ----------
    Oganov et al., arXiv:2510.17699; 3145tttt/GAS at f090ede4, src/gas/generalized_solver.py, GeneralizedSolver.
    """
    order = weights.shape[1]
    states: list[Any] = []
    data: list[Any] = []
    lam = [float(schedule.half_log_snr(t)) for t in times]
    for i, (t, after) in enumerate(pairwise(times)):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        noise = model(x, t, t + shifts[i])
        states, data = [x, *states][:order], [(x - sigma * noise) * (1.0 / alpha), *data][:order]
        h = lam[i + 1] - lam[i]
        gain, phi = float(schedule.alpha(after)), float(np.expm1(-h))
        new = (float(schedule.sigma(after)) / sigma + carries[i, 0]) * x - (gain * phi + weights[i, 0]) * data[0]
        if len(data) == 2:
            slope = (h / (lam[i] - lam[i - 1])) * (data[0] - data[1])
            new = new - (0.5 * gain * phi + weights[i, 1]) * slope
        if len(data) >= 3:
            r, s = (lam[i] - lam[i - 1]) / h, (lam[i - 1] - lam[i - 2]) / h
            near, far = (1.0 / r) * (data[0] - data[1]), (1.0 / s) * (data[1] - data[2])
            phi_2 = phi / h + 1.0
            first = near + (r / (r + s)) * (near - far)
            new = new + (gain * phi_2 + weights[i, 1]) * first
            new = new - (gain * (phi_2 / h - 0.5) + weights[i, 2]) * ((1.0 / (r + s)) * (near - far))
            for j in range(3, len(data)):
                new = new + weights[i, j] * data[j]
        for j in range(1, len(states)):
            new = new + carries[i, j] * states[j]
        x = new
    return x


def epd(
    model: Model,
    x: Any,
    sigmas: Sequence[float],
    fractions: FloatArray,
    weights: FloatArray,
    time_scales: FloatArray | None = None,
    slope_scales: FloatArray | None = None,
) -> Any:
    """EPD on a variance-exploding process, for data prediction: K evaluations a step besides the one at its start.

    They do not wait for each other, so that the *latency* may be that of two; they are K + 1 evaluations all the same.

    Parameters
    ----------
    model : callable
        Data prediction.
    x : array
        Noise of standard deviation ``sigmas[0]``.
    sigmas : sequence of float, length n + 1
        Levels.
    fractions, weights : ndarray, shape (n, K)
        Where the evaluations are, as fractions of the step in log sigma, and what they weigh.
    time_scales, slope_scales : ndarray, shape (n, K), optional
        Factors on the level that the network is told, and on the slopes.

    Returns
    -------
    array, shape of ``x``
        End of the run.

    References
    ----------
    Zhu et al., arXiv:2507.14797; BeierZhu/EPD at 88a91f09, solvers.py, epd_sampler.
    """
    times = np.ones_like(fractions) if time_scales is None else time_scales
    slopes = np.ones_like(fractions) if slope_scales is None else slope_scales
    for i, (level, after) in enumerate(pairwise(sigmas)):
        start = (x - model(x, level)) * (1.0 / level)
        new = x
        for r, w, told, factor in zip(fractions[i], weights[i], times[i], slopes[i], strict=True):
            middle = float(after**r * level ** (1.0 - r))
            inner = x + (middle - level) * start
            slope = (inner - model(inner, middle, float(told * middle))) * (1.0 / middle)
            new = new + float(w * factor) * (after - level) * slope
        x = new
    return x
