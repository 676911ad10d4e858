r"""The best possible sampler for a given spectrum, in the mean: least expected squared error on Gaussian data.

The worst error over a range (:mod:`diffnum.analysis.limit`) knows nothing of how often a variance occurs. With weights
:math:`w_i`, and states that start with the exact law, the expected squared distance to the exact flow's end is

.. math:: \sum_i w_i\, (c_i + \rho_s^2)\, (G(c_i) - G^*(c_i))^2

over all gains :math:`G = p / \prod_j (c + \rho_j^2)` of N evaluations. At an optimum with at least 2 N + 1 variances
the error is orthogonal to all polynomials of degree 2 N over the squared denominator, with positive weights; so it
changes sign 2 N + 1 times, and with :math:`x^2 = z` the polynomial :math:`p(x^2) - x q(x^2)` is a multiple of
:math:`\prod_i (x - x_i)` with positive :math:`x_i`. The even and the odd part of :math:`\prod_i (x + x_i)` have
negative interlacing zeros (Hermite-Biehler): the optimum is a chain of Euler-like steps between the two ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from diffnum.analysis.chain import (
    NOISE_LEVELS,
    Pair,
    chain_plan,
    chain_table,
    checked_levels,
    checked_nfe,
    checked_spectrum,
    checked_variances,
    exact_gain,
    gain,
)
from diffnum.analysis.limit import gaussian_limit
from diffnum.plans import Plan
from diffnum.types import FloatArray, Schedule

__all__ = ["SpectralLimit", "spectral_limit"]


@dataclass(frozen=True, eq=False)
class SpectralLimit:
    """The sampler whose expected squared error for a given spectrum is least.

    Parameters
    ----------
    nfe : int
        Evaluations.
    noise_levels : (float, float)
        ``sigma / alpha`` at the start and at the end.
    variances, weights : ndarray, shape (d,)
        The spectrum: variances of the data and how often each counts.
    error : float
        Expected squared distance of the output's ``x / alpha`` to the exact flow's from the same start, summed over the
        directions with their weights; the start has the exact law.
    relative_error : float
        Root of ``error`` over the expected squared size of the exact output.
    levels, zeros : ndarray, shape (nfe,)
        As for :class:`GaussianLimit`.
    scale : float
        Constant factor of the gain.
    """

    nfe: int
    noise_levels: Pair
    variances: FloatArray
    weights: FloatArray
    error: float
    relative_error: float
    levels: FloatArray
    zeros: FloatArray
    scale: float

    def gain(self, c: ArrayLike) -> FloatArray:
        """Factor of ``x / alpha`` in directions of variance ``c`` >= 0, any shape."""
        return gain(self.levels, self.zeros, self.scale, checked_variances("c", c))

    def exact_gain(self, c: ArrayLike) -> FloatArray:
        """The same of the exact flow."""
        return exact_gain(self.noise_levels, checked_variances("c", c))

    def plan(self, schedule: Schedule) -> Plan:
        """Plan that attains the limit on a schedule; see :meth:`GaussianLimit.plan`."""
        return chain_plan(schedule, self.noise_levels, self.levels, self.zeros, self.scale, "spectral_limit")

    def __str__(self) -> str:
        """Error, levels and zeros as a table."""
        title = (
            f"least expected squared error of {self.nfe} evaluations, {len(self.variances)} variances: "
            f"{self.error:.4g} (relative error {self.relative_error:.4g})"
        )
        return chain_table(title, self.levels, self.zeros, self.scale)


def spectral_limit(
    nfe: int,
    variances: ArrayLike,
    weights: ArrayLike = 1.0,
    *,
    noise_levels: Pair = NOISE_LEVELS,
    starts: int = 4,
    seed: int = 0,
) -> SpectralLimit:
    r"""Least expected squared error that any sampler can have on Gaussian data with a given spectrum.

    Minimised is :math:`\sum_i w_i (c_i + \rho_e^2) (G(c_i)/G^*(c_i) - 1)^2` over all gains G of N evaluations.

    Parameters
    ----------
    nfe : int
        Evaluations, at least 1.
    variances : array_like, shape (d,)
        Variances of the data, finite and >= 0.
    weights : array_like, shape (d,) or ()
        How often each direction counts, finite and >= 0, not all 0.
    noise_levels : (float, float)
        ``sigma / alpha`` at the start and at the end, ``start > end >= 0``.
    starts : int
        Starting points of the least-squares solver, at least 1: the first is the least worst error's sampler on the
        range of the variances, the others are random interlacing levels and zeros.
    seed : int
        Seed of the random ones.

    Returns
    -------
    SpectralLimit

    Raises
    ------
    TypeError
        If ``nfe`` is no integer.
    ValueError
        If a number is out of range, or shapes do not fit.

    Notes
    -----
    The optimum is looked for among interlacing zeros and levels, by their logarithms: nothing is lost by that, and the
    problem is well conditioned. With fewer than 2 N + 1 variances it is not unique, and its error is 0.

    Examples
    --------
    >>> found = spectral_limit(2, [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0])
    >>> found.error <= spectral_limit(1, found.variances).error
    True
    """
    count = checked_nfe(nfe)
    start, end = checked_levels(noise_levels)
    c, w = checked_spectrum(variances, weights)
    if starts < 1:
        msg = f"starts={starts}: use at least 1"
        raise ValueError(msg)
    if (c + end**2 == 0.0).any():
        msg = f"variances has a 0 and noise_levels={noise_levels!r} end at 0: give positive variances"
        raise ValueError(msg)
    size = w * (c + end**2)
    signs = np.repeat([1.0, -1.0], count)
    root, log_exact = np.sqrt(size / size.sum()), np.log(exact_gain((start, end), c))

    def parts(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weighted gain over exact gain, and the shares of the squares in ``c + square``; zeros first, then levels."""
        squares = np.exp(theta[1:])
        sums = c[:, None] + squares
        logs = np.log(sums)
        return root * np.exp(theta[0] + logs @ signs - log_exact), squares / sums

    def residual(theta: FloatArray) -> FloatArray:
        return np.asarray(parts(theta)[0] - root)

    def jacobian(theta: FloatArray) -> FloatArray:
        ratio, shares = parts(theta)
        return np.asarray(ratio[:, None] * np.column_stack([np.ones_like(c), shares * signs]))

    positive = c[w > 0]
    best = gaussian_limit(count, (start, end), (float(positive.min()), float(positive.max())))
    first = np.concatenate([[np.log(best.scale)], 2.0 * np.log(best.zeros), 2.0 * np.log(best.levels)])
    rng = np.random.default_rng(seed)
    guesses = [first, *(_random_start(rng, count, (start, end), float(positive.min())) for _ in range(starts - 1))]
    bounds = (np.full_like(first, -600.0), np.full_like(first, 600.0))
    found = min(
        (
            least_squares(residual, guess, jacobian, bounds, xtol=1e-12, ftol=1e-14, gtol=1e-15, max_nfev=500)
            for guess in guesses
        ),
        key=lambda result: float(result.cost),
    )
    relative = float(np.sqrt(2.0 * found.cost))
    zeros, levels = (np.sort(np.exp(0.5 * part))[::-1] for part in (found.x[1 : count + 1], found.x[count + 1 :]))
    return SpectralLimit(
        count, (start, end), c, w, float(relative**2 * size.sum()), relative, levels, zeros, float(np.exp(found.x[0]))
    )


def _random_start(rng: np.random.Generator, count: int, noise_levels: Pair, lowest: float) -> FloatArray:
    """Interlacing squares of levels and zeros, log-uniform between the first noise level and the least of the rest."""
    high, low = (np.log(v) for v in (noise_levels[0] ** 2, noise_levels[1] ** 2 + 0.1 * lowest))
    squares = np.sort(rng.uniform(low, high, 2 * count))[::-1]
    return np.concatenate([[0.0], squares[1::2], squares[::2]])
