r"""Constant rate: the data prediction changes by as much in every step, along the teacher's trajectories."""

from __future__ import annotations

import numpy as np

from diffnum.calibration.grid_rules.task import GridTask
from diffnum.types import FloatArray

__all__ = ["arc_lengths", "constant_rate"]


def constant_rate(task: GridTask, *, exponent: float = 1.0) -> FloatArray:
    """Equal parts of the length of the path of the data prediction.

    Parameters
    ----------
    task : GridTask
        The question; nothing of the method is looked at.
    exponent : float
        The rate is raised to this power before it is divided: 1 equalises the change, 0 the half-log-SNR.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs, between candidates by linear interpolation of the length.

    Raises
    ------
    ValueError
        If the exponent is negative, or the prediction does not change at all.

    References
    ----------
    Okada et al., constant rate scheduling, arXiv:2411.12188 (one of its measures is the change of the data prediction).
    """
    if not 0.0 <= exponent < np.inf:
        msg = f"exponent={exponent!r}: use a number from 0 on; 1 equalises the change of the prediction"
        raise ValueError(msg)
    gaps = np.diff(task.levels)
    rates = arc_lengths(task) / gaps
    if not rates.max() > 0.0:
        msg = "the data prediction does not change along the trajectories: any grid will do, take one of diffnum.grids"
        raise ValueError(msg)
    # a thousandth of the mean rate, so that levels increase where nothing changes
    length = np.concatenate([[0.0], np.cumsum((rates + 1e-3 * rates.mean()) ** exponent * gaps)])
    levels = np.interp(np.linspace(0.0, length[-1], task.steps + 1), length, task.levels)
    levels[[0, -1]] = task.levels[[0, -1]]
    return np.asarray(levels)


def arc_lengths(task: GridTask) -> FloatArray:
    """Root-mean-square change of the data prediction from each candidate to the next, shape (k - 1,)."""
    return np.asarray(np.sqrt((np.diff(task.trajectory.data, axis=0) ** 2).mean(axis=(1, 2))))
