r"""The best possible sampler on Gaussian data, in closed form.

In :math:`\bar x = x / \alpha`, and with the noise level rho = sigma / alpha, a model that is exact for Gaussian data
multiplies a direction of variance c by

.. math:: \epsilon(\bar x, \rho) = \frac{\rho}{c + \rho^2}\, (\bar x - m) .

A deterministic sampler combines states and evaluations linearly, whatever its weights, its stages and its history; so
after N evaluations at the levels :math:`\rho_j` it has multiplied the direction by
:math:`p(c) / \prod_j (c + \rho_j^2)` with a polynomial p of degree N at most. The exact flow multiplies by
:math:`\sqrt{(c + \rho_e^2)/(c + \rho_s^2)}`, which is :math:`\sqrt z` for

.. math:: z = \frac{c + \rho_e^2}{c + \rho_s^2} .

z is a Möbius map of c, hence the gain a rational function of type (N, N) of z, and no sampler can have a smaller worst
relative error over an interval of variances than Zolotarev's function (:mod:`diffnum.analysis.zolotarev`). Its poles
and zeros are negative in z and interlace: the levels lie between the two ends, and one step an evaluation

.. math:: \bar y \leftarrow \bar y + \frac{\zeta_j^2 - \rho_j^2}{\rho_j}\, \epsilon(\bar y, \rho_j) ,

Euler's but for its length, multiplies by :math:`(c + \zeta_j^2)/(c + \rho_j^2)`. A constant factor K follows the last.
Noise in the sampler does not help: see :func:`gaussian_limit`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from diffnum.analysis.chain import (
    NOISE_LEVELS,
    VARIANCES,
    Pair,
    chain_plan,
    chain_table,
    checked_levels,
    checked_nfe,
    checked_variances,
    exact_gain,
    gain,
)
from diffnum.analysis.zolotarev import best_square_root
from diffnum.plans import Plan
from diffnum.types import FloatArray, Schedule

__all__ = ["GaussianLimit", "gaussian_limit"]


@dataclass(frozen=True, eq=False)
class GaussianLimit:
    """The sampler whose worst relative error over a range of variances is least.

    Parameters
    ----------
    nfe : int
        Evaluations.
    noise_levels : (float, float)
        ``sigma / alpha`` at the start and at the end.
    variances : (float, float)
        Least and largest variance of the data that count; the second may be infinite.
    error : float
        Largest relative error of the output's standard deviation over these variances.
    levels : ndarray, shape (nfe,)
        ``sigma / alpha`` of the evaluations, decreasing.
    zeros : ndarray, shape (nfe,)
        ``sqrt(-c)`` of the zeros of the gain, decreasing, each between its level and the next one.
    scale : float
        Constant factor K, the gain at infinite variance (and of the mean).
    extrema : ndarray, shape (2 nfe + 2,)
        Variances where the error is attained, increasing, with alternating sign.
    """

    nfe: int
    noise_levels: Pair
    variances: Pair
    error: float
    levels: FloatArray
    zeros: FloatArray
    scale: float
    extrema: FloatArray

    def gain(self, c: ArrayLike) -> FloatArray:
        """Factor of ``x / alpha`` in directions of variance ``c`` >= 0, any shape; infinite ones are allowed."""
        return gain(self.levels, self.zeros, self.scale, checked_variances("c", c))

    def exact_gain(self, c: ArrayLike) -> FloatArray:
        """The same of the exact flow."""
        return exact_gain(self.noise_levels, checked_variances("c", c))

    def plan(self, schedule: Schedule) -> Plan:
        """Plan that attains the limit on a schedule: one step, of its own length, an evaluation.

        The model is called at other times than those between which a step goes; :attr:`Tableau.stage_t` has them.

        Parameters
        ----------
        schedule : Schedule
            Any noising process that reaches both noise levels.

        Raises
        ------
        ValueError
            If a noise level is outside the schedule.
        """
        return chain_plan(schedule, self.noise_levels, self.levels, self.zeros, self.scale, "gaussian_limit")

    def __str__(self) -> str:
        """Error, levels and zeros as a table."""
        low, high = self.variances
        title = f"least worst relative error of {self.nfe} evaluations, variances {low:g} to {high:g}: {self.error:.4g}"
        return chain_table(title, self.levels, self.zeros, self.scale)


def gaussian_limit(nfe: int, noise_levels: Pair = NOISE_LEVELS, variances: Pair = VARIANCES) -> GaussianLimit:
    """Least worst relative error of the output's standard deviation that any sampler can have.

    Parameters
    ----------
    nfe : int
        Evaluations, at least 1.
    noise_levels : (float, float)
        ``sigma / alpha`` at the start and at the end of the run, ``start > end >= 0``.
    variances : (float, float)
        Range of the variances of the data, ``0 <= low <= high``; ``(0, inf)`` is every Gaussian.

    Returns
    -------
    GaussianLimit

    Raises
    ------
    TypeError
        If ``nfe`` is no integer.
    ValueError
        If a number is out of range, or both the last noise level and the least variance are 0: then the exact flow
        sends a direction to nothing, and no sampler has a finite relative error.

    Notes
    -----
    The bound holds for all samplers with scalar weights, those that add noise included: their output has a variance
    that is a sum of squares of such functions, and the divided difference over the extrema shows that it is no closer.
    The book's chapter on the best possible sampler has the proof.

    Examples
    --------
    >>> limit = gaussian_limit(5)
    >>> f"{limit.error:.1e}"
    '4.5e-04'
    """
    count = checked_nfe(nfe)
    start, end = checked_levels(noise_levels)
    low, high = _checked_range(variances)
    a, e = start**2, end**2
    if low + e == 0.0:
        msg = (
            f"variances={variances!r} begin at 0 and noise_levels={noise_levels!r} end at 0: the relative error of "
            "nothing is undefined; begin or end above 0"
        )
        raise ValueError(msg)
    # b - 1 for the ratio b of the ends in z; the quotient with the upper variance is 1 where that is infinite
    rest = 1.0 if np.isinf(high) else (high - low) / (high + a)
    width = rest * (a - e) / (low + e)
    if not (width < 1e150 and a > 0.0):
        msg = f"noise_levels={noise_levels!r} and variances={variances!r} span more than float64 holds: narrow them"
        raise ValueError(msg)
    best = best_square_root(count, width)
    first = (low + e) / (low + a)  # z at the least variance
    levels, zeros = (np.sqrt((e + first * w * a) / (1.0 + first * w))[::-1] for w in (best.poles, best.zeros))
    scale = float(np.sqrt(first) * best.scale * np.prod((1.0 + first * best.zeros) / (1.0 + first * best.poles)))
    w = best.extrema[1:-1]
    floor, least = e / a, low / a
    inner = a * ((w - 1.0) * floor + least * (w - floor)) / (1.0 - w * floor - least * (w - 1.0))
    return GaussianLimit(
        count, (start, end), (low, high), best.error, levels, zeros, scale, np.concatenate([[low], inner, [high]])
    )


def _checked_range(variances: Pair) -> Pair:
    try:
        low, high = (float(v) for v in variances)
    except (TypeError, ValueError) as error:
        msg = f"variances={variances!r}: pass the least and the largest variance"
        raise TypeError(msg) from error
    if not (0.0 <= low <= high and np.isfinite(low)):
        msg = f"variances={variances!r}: give a range 0 <= low <= high, low finite"
        raise ValueError(msg)
    return low, high
