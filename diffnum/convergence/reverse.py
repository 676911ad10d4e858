r"""The reverse equation on Gaussian data, exactly: transitions, solutions on a path, distances without sampling.

With data variance c, :math:`V = e^{-2\lambda} + c` and :math:`p = (1 + \eta^2)/2`, deviations :math:`u = x - \alpha m`
obey, for a constant noise level,

.. math:: \frac{u_t}{\alpha_t V_t^{p}} = \frac{u_s}{\alpha_s V_s^{p}}
          + \sqrt2\, \eta \int_s^t e^{-\lambda}\, V^{-p}\, dW_\lambda ;

where it varies, :math:`\eta^2 \log V` becomes the integral of :math:`\eta^2\, d\log V`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from diffnum.analysis.gaussian import affine
from diffnum.coefficients.extended_reverse import NoiseScale
from diffnum.convergence.oracle import Oracle
from diffnum.plans import Plan
from diffnum.problems import Gaussian
from diffnum.solver.noise import NestedNoise, exponential_clock, noise_intervals
from diffnum.types import FloatArray, Schedule

__all__ = ["Level", "exact_end", "exact_transition", "path_response", "strong_distance"]

Level: TypeAlias = float | NoiseScale
"""A noise level tau, or one that varies with sigma/alpha."""


def exact_transition(
    schedule: Schedule, eigenvalues: FloatArray, lam: tuple[float, float], tau: Level
) -> tuple[FloatArray, FloatArray]:
    r"""Exact law of a step of the reverse equation on Gaussian data, by eigen-direction.

    Parameters
    ----------
    schedule : Schedule
        Noising process.
    eigenvalues : ndarray, shape (d,)
        Variances c of the data.
    lam : (float, float)
        Half-log-SNR at the start and at the end, the second larger.
    tau : float or NoiseScale
        Noise level, >= 0, or one that varies.

    Returns
    -------
    gain, variance : ndarrays, shape (d,)
        Deviations from ``alpha m`` are multiplied by :math:`(\alpha_t/\alpha_s)(V_t/V_s)^{(1+\eta^2)/2}`, and noise of
        variance :math:`(\alpha_t^2 c + \sigma_t^2)(1 - (V_t/V_s)^{\eta^2})` is added; where tau varies,
        :math:`\eta^2 \log(V_t/V_s)` is the integral of :math:`\eta^2\, d\log V`.
    """
    times = [float(schedule.time(value)) for value in lam]
    alpha_s, alpha_t = (float(schedule.alpha(t)) for t in times)
    c = np.asarray(eigenvalues, dtype=np.float64)
    # log V_t - log V_s without cancellation of a large c
    change = np.log1p(np.exp(-2 * lam[0]) * np.expm1(-2 * (lam[1] - lam[0])) / (np.exp(-2 * lam[0]) + c))
    extra = tau**2 * change if isinstance(tau, float | int) else _weighted_change(np.array(lam[0]), lam[1], c, tau)
    gain = alpha_t / alpha_s * np.exp(0.5 * (change + extra))
    variance = alpha_t**2 * (np.exp(-2 * lam[1]) + c) * -np.expm1(extra)
    return gain, variance


def _weighted_change(lam: FloatArray, lam_end: float, c: Any, tau: NoiseScale) -> FloatArray:
    """Integral of tau^2 dlog V from each ``lam`` to the end; shapes broadcast."""
    points, weights = np.polynomial.legendre.leggauss(40)
    half = 0.5 * (lam_end - lam)
    total = 0.0 * (lam + c)
    for point, weight in zip(points, weights, strict=True):
        at = lam + half * (1 + point)
        rho = np.exp(-at)
        total = total - weight * half * tau.squared(rho) * 2 * rho**2 / (rho**2 + c)
    return np.asarray(total)


def exact_end(problem: Gaussian, oracle: Oracle, path: NestedNoise, tau: Level) -> FloatArray:
    """Exact solution at the end of the interval on a path, shape (points, d)."""
    lam_s, lam_t = oracle.interval
    ends = oracle.nodes(np.array(oracle.interval))
    mean, basis = oracle.schedule.mean, problem.eigenvectors
    shift = problem.mean - mean
    u = (oracle.state(lam_s) - mean - ends.alpha[0] * shift) @ basis.T
    gain, _ = exact_transition(oracle.schedule, problem.eigenvalues, oracle.interval, tau)
    result = gain * u
    for k, c in enumerate(problem.eigenvalues.tolist()):

        def weight(lam: FloatArray, c: float = c) -> FloatArray:
            return path_response(lam, c, lam_t, tau)

        noise = path.integral(lam_s, lam_t, weight) @ basis[k]
        result[:, k] += ends.alpha[1] * noise
    return np.asarray(result @ basis + mean + ends.alpha[1] * shift)


def strong_distance(numbers: Plan, problem: Gaussian, tau: Level, rate: float) -> FloatArray:
    """Root mean square distance of a plan's end from the exact solution on the same path, by eigen-direction.

    Starts are drawn from the exact marginal; nothing is sampled.

    Parameters
    ----------
    numbers : Plan
        Plan of a stochastic method without an exact start.
    problem : Gaussian
        Data.
    tau : float or NoiseScale
        Noise level of the equation.
    rate : float
        The plan's draws are the normalised integrals of ``exp(rate * lam)`` against the path.

    Returns
    -------
    ndarray, shape (d,)
    """
    schedule, c = numbers.schedule, problem.eigenvalues
    shift = problem.eigenvectors @ (problem.mean - schedule.mean)
    alpha, sigma = (float(f(numbers.steps[0].t_from)) for f in (schedule.alpha, schedule.sigma))
    start = alpha**2 * c + sigma**2
    mean = (alpha * shift)[:, None]
    joint = np.broadcast_to(start[:, None, None], (len(c), 2, 2)).copy()  # the run's state, and the solution
    for step, parts in zip(numbers.steps, noise_intervals(numbers), strict=True):
        T, response, N = affine(step, numbers.prediction, c)
        lam = (float(schedule.half_log_snr(step.t_from)), float(schedule.half_log_snr(step.t_to)))
        gain, variance = exact_transition(schedule, c, lam, tau)
        k_out, k_in = T.shape[1:]
        move = np.zeros((len(c), k_out + 1, k_in + 1))
        move[:, :k_out, :k_in], move[:, -1, -1] = T, gain
        mixed = (N @ _covariances(parts, schedule, step.t_to, c, tau, rate)[..., None])[..., 0]
        noise = np.zeros((len(c), k_out + 1, k_out + 1))
        noise[:, :k_out, :k_out], noise[:, -1, -1] = N @ N.swapaxes(1, 2), variance
        noise[:, :k_out, -1] = noise[:, -1, :k_out] = mixed
        joint = move @ joint @ move.swapaxes(1, 2) + noise
        mean = np.einsum("dij,dj->di", T, mean) + response * shift[:, None]
    x = numbers.steps[-1].outputs.index("x")
    bias = mean[:, x] - float(schedule.alpha(numbers.steps[-1].t_to)) * shift
    squares = joint[:, x, x] - 2 * joint[:, x, -1] + joint[:, -1, -1] + bias**2
    distance: FloatArray = np.sqrt(np.maximum(squares, 0.0))
    return distance


def _covariances(
    parts: Sequence[tuple[float, float]], schedule: Schedule, t_to: float, c: FloatArray, tau: Level, rate: float
) -> FloatArray:
    """Covariances of a step's draws with the noise of the exact solution, shape (d, draws)."""
    points, weights = np.polynomial.legendre.leggauss(12)
    alpha, lam_end = float(schedule.alpha(t_to)), float(schedule.half_log_snr(t_to))
    found = np.zeros((len(c), len(parts)))
    for j, (a, b) in enumerate(parts):
        lam = a + 0.5 * (b - a) * (1.0 + points)
        own = np.exp(rate * (lam - a))
        own /= np.sqrt(exponential_clock(b - a, rate))
        solution = path_response(lam, c[:, None], lam_end, tau)
        found[:, j] = alpha * 0.5 * (b - a) * (solution * own) @ weights
    return found


def path_response(lam: FloatArray, c: Any, lam_end: float, tau: Level) -> FloatArray:
    """Weight with which the path at ``lam`` enters the exact deviation at ``lam_end``, over alpha there."""
    ratio = (np.exp(-2 * lam_end) + c) / (np.exp(-2 * lam) + c)
    if isinstance(tau, float | int):
        return np.asarray(np.sqrt(2) * tau * np.exp(-lam) * ratio ** (0.5 * (1 + tau**2)))
    growth = np.sqrt(ratio) * np.exp(0.5 * _weighted_change(lam, lam_end, c, tau))
    return np.asarray(np.sqrt(2 * tau.squared(np.exp(-lam))) * np.exp(-lam) * growth)
