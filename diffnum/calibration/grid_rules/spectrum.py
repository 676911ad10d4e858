"""The grid on which a method answers a spectrum best: exact propagation of Gaussian data, no network."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from diffnum.analysis.spectrum import spectrum_error
from diffnum.calibration.grid_rules.simplex import beginnings, increments, levels_of
from diffnum.calibration.grid_rules.task import GridTask
from diffnum.types import FloatArray

__all__ = ["spectrum"]

_MOST = 64
"""Variances that are looked at; more are replaced by as many quantiles."""


def spectrum(task: GridTask, *, variances: ArrayLike | None = None, weights: ArrayLike = 1.0) -> FloatArray:
    """Least RMS log-gain error of the method over variances of the data, by least squares in free levels.

    Parameters
    ----------
    task : GridTask
        The question; the levels are free, candidates do not matter.
    variances : array_like, shape (d,), optional
        Variances of the data; those of the teacher's end points in their principal directions by default.
    weights : array_like, shape (d,) or ()
        How often each counts.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs.

    Raises
    ------
    ValueError
        If a variance is not positive, or the shapes do not fit.

    Notes
    -----
    For isotropic data and DDIM this is the tangent law. Grids from spectra: Benita, Elad and Keshet, arXiv:2502.00180
    (for DDIM and DDPM); here for any method whose gain :func:`diffnum.analysis.propagate` knows.
    """
    c = _few(task.trajectory.variances) if variances is None else np.asarray(variances, dtype=np.float64)
    ends = float(task.levels[0]), float(task.levels[-1])
    spectrum_error(task.plan(beginnings(task)[0]), c, weights=weights)  # says what is wrong with the arguments
    root = np.sqrt(np.broadcast_to(np.asarray(weights, dtype=np.float64), c.shape))

    def residuals(theta: FloatArray) -> FloatArray:
        found = spectrum_error(task.plan(levels_of(theta, ends)), c)
        return np.asarray(root * np.log(np.maximum(found.gain / found.exact, 1e-12)))

    if task.steps == 1:
        return np.array(ends)
    found = [
        least_squares(residuals, increments(start), x_scale="jac", bounds=(-8.0, 8.0), max_nfev=40)
        for start in beginnings(task)
    ]
    return levels_of(min(found, key=lambda one: one.cost).x, ends)


def _few(variances: FloatArray) -> FloatArray:
    """The variances, or quantiles of them."""
    if len(variances) <= _MOST:
        return variances
    return np.asarray(np.quantile(variances, (np.arange(_MOST) + 0.5) / _MOST))
