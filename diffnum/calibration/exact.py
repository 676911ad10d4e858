"""Model statistics of DPM-Solver-v3, exact for Gaussians and mixtures: closed-form Jacobians, no network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from diffnum.calibration.statistics import ModelStatistics, linear_law
from diffnum.problems._components import Components
from diffnum.problems._states import FORMS
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.product import Mixture1D
from diffnum.schedules import EDM
from diffnum.types import FloatArray, Problem, Schedule

__all__ = ["exact_statistics"]

_STENCIL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
_REACH = 0.02
"""Central differences of order 8 at this spacing are good to 1e-13 where the model varies over a unit of lam."""

_LARGEST = 200_000


def exact_statistics(
    problem: Problem,
    lam: Sequence[float] | FloatArray,
    *,
    schedule: Schedule | None = None,
    nodes: int = 64,
    samples: int | None = None,
    seed: int = 0,
    scalar: bool = False,
) -> ModelStatistics:
    r"""Statistics l, s, b of the exact model of a data distribution.

    ``l = E[diag(sigma d eps/dx)]``; s and b are the best fit of f' by s f + b, where f' is the derivative of
    ``f = (sigma eps - l x)/alpha`` in half-log-SNR along the probability-flow trajectories. Expectations are over the
    noisy data.

    Parameters
    ----------
    problem : Problem
        Exact problem.
    lam : array_like, shape (k,)
        Half-log-SNRs, strictly increasing, at least 4.
    schedule : Schedule, optional
        Schedule to which plans are then bound; the numbers depend on it only through the mean of a mean-reverting one.
    nodes : int
        Gauss-Hermite nodes per dimension and component (Gaussians, mixtures and datasets of low dimension). Exact for a
        Gaussian; between well separated components at low noise s converges slowly.
    samples : int, optional
        Monte Carlo with so many draws instead, the same ones at all noise levels; needed in high dimension.
    seed : int
        Seed of the draws.
    scalar : bool
        One number a level: the trace of the Jacobian over d, and one law for all elements.

    Returns
    -------
    ModelStatistics
        Element shape (d,), or () for scalar statistics.

    Raises
    ------
    ValueError
        If Gauss-Hermite would need too many points, or the problem is no mixture and ``samples`` is not given.
    """
    lam = np.asarray(lam, dtype=np.float64)
    if lam.ndim != 1 or len(lam) < 4 or not (np.isfinite(lam).all() and (np.diff(lam) > 0).all()):
        msg = f"lam has shape {lam.shape}: give at least 4 finite half-log-SNRs, strictly increasing"
        raise ValueError(msg)
    if isinstance(problem, Mixture1D):
        problem = GaussianMixture(problem.weights, problem.means[:, None], problem.variances)
    core: Any = problem.denoiser(EDM(), "noise").core  # type: ignore[attr-defined]
    mean = 0.0 if schedule is None else schedule.mean
    draw = _Draws(problem, core, nodes, samples, seed)
    slopes = np.stack([_jacobian_diagonal(core, *draw.at(value), value) for value in lam])
    if scalar:
        slopes = slopes.mean(axis=1)
    # l' along the knots by the spline that the method will use
    rates = ModelStatistics(lam, slopes, 0.0 * slopes, 0.0 * slopes).slope_rate(lam)
    laws = []
    for value, slope, rate in zip(lam, slopes, rates, strict=True):
        y, weights = draw.at(value)
        f, derivative = _term(core, y, value, slope, rate, mean)
        if scalar:
            weights = np.repeat(weights, y.shape[1]) / y.shape[1]
            f, derivative = f.reshape(-1), derivative.reshape(-1)
        laws.append(linear_law(f, derivative, weights))
    s, b = (np.stack(part) for part in zip(*laws, strict=True))
    return ModelStatistics(lam, slopes, s, b, schedule)


class _Draws:
    """Noisy data y = x_0 + rho eps with probabilities, at any noise level."""

    def __init__(self, problem: Problem, core: Any, nodes: int, samples: int | None, seed: int) -> None:
        self.core = core
        self.data: FloatArray | None = None
        if samples is not None:
            self.data = problem.sample(samples, seed)
            self.noise = np.random.default_rng([seed, 1]).standard_normal(self.data.shape)
            self.weights = np.full(samples, 1.0 / samples)
            return
        if not isinstance(core, Components):
            msg = f"samples=None: {type(problem).__name__} is no mixture, pass samples=, such as 4096"
            raise ValueError(  # noqa: TRY004 (an argument is missing)
                msg
            )
        count = len(core.log_weights) * nodes**core.dim
        if count > _LARGEST:
            msg = f"nodes={nodes} makes {count} quadrature points in dimension {core.dim}: pass samples=, such as 4096"
            raise ValueError(msg)
        x, w = np.polynomial.hermite_e.hermegauss(nodes)
        z = np.array(list(product(x, repeat=core.dim)))
        probability = np.array([np.prod(row) for row in product(w / w.sum(), repeat=core.dim)])
        self.noise = z
        self.weights = (np.exp(core.log_weights)[:, None] * probability).ravel()

    def at(self, lam: float) -> tuple[FloatArray, FloatArray]:
        """States, shape (n, d), and their probabilities, shape (n,)."""
        rho = np.exp(-lam)
        if self.data is not None:
            return self.data + rho * self.noise, self.weights
        clouds = []
        for k, centre in enumerate(self.core.means):
            spread = self.noise * np.sqrt(self.core.spectra[k] + rho**2)
            clouds.append(centre + (spread if self.core.bases is None else spread @ self.core.bases[k]))
        return np.concatenate(clouds), self.weights


def _noise(core: Any, y: FloatArray, lam: float) -> FloatArray:
    """Noise prediction at y = x/alpha."""
    rho = float(np.exp(-lam))
    return np.asarray(core.predict(y, 1.0, rho, FORMS["noise"](1.0, rho)))


def _jacobian_diagonal(core: Any, y: FloatArray, weights: FloatArray, lam: float) -> FloatArray:
    """Mean of the diagonal of sigma d eps/d x = rho d eps/d y, shape (d,)."""
    rho = float(np.exp(-lam))
    form = FORMS["noise"](1.0, rho)
    diagonal = []
    for i in range(y.shape[1]):
        tangent = np.zeros_like(y)
        tangent[:, i] = 1.0
        diagonal.append(rho * weights @ core.jvp(y, tangent, 1.0, rho, form)[:, i])
    return np.array(diagonal)


def _term(
    core: Any, y: FloatArray, lam: float, slope: FloatArray, rate: FloatArray, mean: Any
) -> tuple[FloatArray, FloatArray]:
    """``f = rho eps - l (y - mean)`` and its derivative along the trajectories, which obey dy/dlam = -rho eps."""
    rho = float(np.exp(-lam))
    noise = _noise(core, y, lam)
    velocity = -rho * noise
    turning = core.jvp(y, velocity, 1.0, rho, FORMS["noise"](1.0, rho))
    ageing = sum(
        c * (_noise(core, y, lam + j * _REACH) - _noise(core, y, lam - j * _REACH)) / _REACH
        for j, c in enumerate(_STENCIL, start=1)
    )
    f = rho * noise - slope * (y - mean)
    return f, rho * (turning + ageing - noise) - rate * (y - mean) - slope * velocity
