"""Model statistics of DPM-Solver-v3, exact for Gaussians and mixtures: closed-form Jacobians, no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

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

_RESOLVED = 1e-13
"""Least deviation of f, over the size of what it is computed from, that is told from rounding."""

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
        Element shape (d,), or () for scalar statistics; s is 0 where f does not vary, or by less than rounding.

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
    slopes, laws = [], []
    for value in lam:
        side = _NOISE if value > 0.0 else _DATA
        slope, rate = _slope(core, draw, value, side, scalar=scalar)
        f, derivative, size = _term(core, draw, value, side, slope, rate, mean)
        weights = draw.weights
        if scalar:
            weights = np.repeat(weights, f.shape[1]) / f.shape[1]
            f, derivative, size = f.ravel(), derivative.ravel(), size.ravel()
        laws.append(linear_law(f, derivative, weights, least=_RESOLVED * np.sqrt(weights @ size**2)))
        slopes.append(slope if side is _NOISE else 1.0 - slope)
    s, b = (np.stack(part) for part in zip(*laws, strict=True))
    return ModelStatistics(lam, np.stack(slopes), s, b, schedule)


class _Side(NamedTuple):
    """``f = sign (P - k z)``, z the state less the mean, for P = rho eps and k = l, or for P = D and k = 1 - l.

    Both are the same number. Where noise dominates, l is 1 to many digits, and only the second form keeps those of f;
    where data dominate, only the first does.
    """

    prediction: str
    sign: float


_NOISE, _DATA = _Side("noise", 1.0), _Side("data", -1.0)


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


def _prediction(core: Any, y: FloatArray, lam: float, side: _Side) -> FloatArray:
    """P at y = x/alpha: rho eps or the data prediction, shape (n, d)."""
    rho = float(np.exp(-lam))
    scale = rho if side is _NOISE else 1.0
    return scale * np.asarray(core.predict(y, 1.0, rho, FORMS[side.prediction](1.0, rho)))


def _turning(core: Any, y: FloatArray, tangent: FloatArray, lam: float, side: _Side) -> FloatArray:
    """Derivative of P along directions of the state, shape (n, d)."""
    rho = float(np.exp(-lam))
    scale = rho if side is _NOISE else 1.0
    return scale * np.asarray(core.jvp(y, tangent, 1.0, rho, FORMS[side.prediction](1.0, rho)))


def _rate(value_at: Callable[[float], FloatArray], lam: float) -> FloatArray:
    """Derivative in half-log-SNR."""
    pairs = enumerate(_STENCIL, start=1)
    terms = [c * (value_at(lam + j * _REACH) - value_at(lam - j * _REACH)) / _REACH for j, c in pairs]
    return np.asarray(sum(terms))


def _slope(core: Any, draw: _Draws, lam: float, side: _Side, *, scalar: bool) -> tuple[FloatArray, FloatArray]:
    """Mean of the diagonal of dP/dy and its derivative in half-log-SNR, shape (d,), or () for their means."""

    def at(value: float) -> FloatArray:
        y, weights = draw.at(value)
        diagonal = []
        for i in range(y.shape[1]):
            tangent = np.zeros_like(y)
            tangent[:, i] = 1.0
            diagonal.append(weights @ _turning(core, y, tangent, value, side)[:, i])
        return np.asarray(np.mean(diagonal) if scalar else diagonal)

    return at(lam), _rate(at, lam)


def _term(
    core: Any, draw: _Draws, lam: float, side: _Side, slope: FloatArray, rate: FloatArray, mean: Any
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """f, its derivative along the trajectories (dy/dlam = -rho eps), and the size of what f is computed from."""
    y, _ = draw.at(lam)
    velocity = -_prediction(core, y, lam, _NOISE)
    value = _prediction(core, y, lam, side) - (mean if side is _DATA else 0.0)
    along = _turning(core, y, velocity, lam, side) + _rate(lambda at: _prediction(core, y, at, side), lam)
    f = value - slope * (y - mean)
    derivative = along - rate * (y - mean) - slope * velocity
    # a data prediction is a mean of data: its rounding is theirs, however small it is
    size = np.abs(draw.at(np.inf)[0]) if side is _DATA else np.abs(value) + np.abs(slope * (y - mean))
    return side.sign * f, side.sign * derivative, size
