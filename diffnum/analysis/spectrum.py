r"""The error of a plan over a spectrum: its gain by variance of the data, beside the exact one, in two numbers.

Errors of the gain are errors of contrast. ``rms_log`` weighs all variances alike and does not care for sign (a sampler
that doubles is as bad as one that halves); ``worst`` is what :func:`~diffnum.analysis.gaussian_limit` bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from diffnum.analysis.chain import VARIANCES, checked_spectrum
from diffnum.analysis.gaussian import propagate
from diffnum.plans import Plan
from diffnum.types import FloatArray

__all__ = ["SpectrumError", "default_variances", "spectrum_error"]

POINTS = 201
"""Variances of a range, log-uniform."""


def default_variances(low: float = VARIANCES[0], high: float = VARIANCES[1], points: int = POINTS) -> FloatArray:
    """Log-uniform variances of a range, ends included, shape (points,).

    Raises
    ------
    ValueError
        If the range is not positive, finite and in order.
    """
    if not 0.0 < low <= high < np.inf:
        msg = f"low={low!r}, high={high!r}: give a range of variances with 0 < low <= high < inf"
        raise ValueError(msg)
    return np.geomspace(low, high, points)


@dataclass(frozen=True, eq=False)
class SpectrumError:
    """Gain of a plan over the variances of the data.

    Parameters
    ----------
    method : str
        Name of the plan's method.
    nfe : int
        Evaluations.
    variances, weights : ndarray, shape (d,)
        Variances of the data, and how often each counts.
    gain : ndarray, shape (d,)
        Standard deviation of the output over that of the start, for states that start with the exact law. Of a
        deterministic plan this is the absolute value of its factor.
    exact : ndarray, shape (d,)
        The same of the exact flow.
    rms_log : float
        Root mean square of ``log(gain / exact)``, natural; infinite where a direction is lost altogether.
    worst : float
        Largest ``|gain / exact - 1|`` among the variances of positive weight.
    """

    method: str
    nfe: int
    variances: FloatArray
    weights: FloatArray
    gain: FloatArray
    exact: FloatArray
    rms_log: float
    worst: float

    def __str__(self) -> str:
        """One line."""
        low, high = self.variances.min(), self.variances.max()
        return (
            f"{self.method}, {self.nfe} evaluations, {len(self.variances)} variances from {low:.3g} to {high:.3g}: "
            f"worst relative error {self.worst:.4g}, RMS log gain {self.rms_log:.4g}"
        )


def spectrum_error(plan: Plan, variances: ArrayLike | None = None, *, weights: ArrayLike = 1.0) -> SpectrumError:
    """Error of a plan's gain over a spectrum, by exact propagation.

    Parameters
    ----------
    plan : Plan
        Any plan, stochastic ones included.
    variances : array_like, shape (d,), optional
        Variances of the data, finite and > 0; 201 of them, log-uniform between 1e-4 and 1, by default.
    weights : array_like, shape (d,) or ()
        How often each counts in ``rms_log``, >= 0.

    Returns
    -------
    SpectrumError

    Raises
    ------
    ValueError
        If the plan is empty, a variance is not positive and finite, or shapes do not fit.

    Examples
    --------
    >>> import diffnum as dn
    >>> schedule = dn.schedules.EDM()
    >>> plan = dn.plan("ddim", schedule, dn.grids.karras(schedule, 10))
    >>> error = spectrum_error(plan)
    >>> bool((error.gain < error.exact).all())  # Euler's method loses variance, always
    True
    """
    if not isinstance(plan, Plan):
        msg = f"plan={plan!r} is a {type(plan).__name__}: pass dn.plan(method, schedule, grid)"
        raise TypeError(msg)
    c, w = checked_spectrum(default_variances() if variances is None else variances, weights)
    if (c == 0.0).any():
        msg = f"variances={variances!r} has a 0: relative errors need positive variances"
        raise ValueError(msg)
    output = propagate(plan, 0.0, c, start="marginal")
    gain = np.sqrt(output.variance / output.start_variance)
    ratio = gain / output.exact_gain
    with np.errstate(divide="ignore"):
        squares = np.where(w > 0, np.log(np.where(w > 0, ratio, 1.0)) ** 2, 0.0)
    return SpectrumError(
        output.method,
        output.nfe,
        c,
        w,
        gain,
        output.exact_gain,
        float(np.sqrt(np.average(squares, weights=w))),
        float(np.abs(ratio - 1.0)[w > 0].max()),
    )
