r"""The tangent law: equal steps in the angle :math:`\theta = \arctan(\rho/\sqrt c)` of the noise level.

For data of one variance c a step of DDIM from :math:`\theta` to :math:`\theta'` multiplies by
:math:`\cos(\theta - \theta') \cos\theta/\cos\theta'`, and the exact flow by :math:`\cos\theta/\cos\theta'`. The run has
lost the factor :math:`\prod_i \cos(\theta_i - \theta_{i+1})`; the logarithm of the cosine is concave, so equal angles
are the best grid, for every number of steps.
"""

from __future__ import annotations

import numpy as np

from diffnum.calibration.grid_rules.task import GridTask
from diffnum.types import FloatArray

__all__ = ["tangent", "tangent_levels"]


def tangent(task: GridTask, *, variance: float | None = None) -> FloatArray:
    """Equal angles for one variance of the data.

    Parameters
    ----------
    task : GridTask
        The question; best for DDIM on isotropic Gaussian data, whatever method is to run.
    variance : float, optional
        Variance c of the data; by default the geometric mean of those of the teacher's end points in their principal
        directions, since errors of the gain count on a logarithmic scale.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs.

    Raises
    ------
    ValueError
        If the variance is not positive.

    References
    ----------
    Sabour et al., Align Your Steps, arXiv:2404.14507, theorem 3.1, for the isotropic Gaussian; "tangent law" in Sun,
    Poor and Zhang, arXiv:2601.13602.
    """
    c = float(np.exp(np.log(task.trajectory.variances).mean())) if variance is None else variance
    return tangent_levels((float(task.levels[0]), float(task.levels[-1])), task.steps, c)


def tangent_levels(ends: tuple[float, float], steps: int, variance: float) -> FloatArray:
    """Half-log-SNRs of equal angles between two of them.

    Parameters
    ----------
    ends : (float, float)
        First and last half-log-SNR.
    steps : int
        Intervals.
    variance : float
        Variance of the data.
    """
    if not 0.0 < variance < np.inf:
        msg = f"variance={variance!r}: use a positive number, the variance of the data"
        raise ValueError(msg)
    # arctan2, and logarithms of sine and cosine, keep digits where the angle is next to 0
    first, last = (float(np.arctan2(np.exp(-end), np.sqrt(variance))) for end in ends)
    angles = np.linspace(first, last, steps + 1)
    levels = np.log(np.cos(angles)) - np.log(np.sin(angles)) - 0.5 * np.log(variance)
    levels[[0, -1]] = ends
    return np.asarray(levels)
