"""A grid with another number of steps: how grids that were found, or published as lists, are used elsewhere."""

from __future__ import annotations

import numpy as np

from diffnum.grids.grid import Grid, checked_steps
from diffnum.grids.nodes import from_half_log_snr
from diffnum.types import Schedule

__all__ = ["resampled"]


def resampled(grid: Grid, schedule: Schedule, n: int) -> Grid:
    """Grid of ``n`` steps along the same curve: half-log-SNR as a piecewise linear function of the share of the steps.

    This is the log-linear interpolation of ``sigma / alpha`` that Align Your Steps recommends for its lists.

    Parameters
    ----------
    grid : Grid
        Nodes of finite half-log-SNR; the terminal rule is kept.
    schedule : Schedule
        The noising process, also another one than that of the grid, where it reaches both ends.
    n : int
        Number of steps, at least 1.

    Returns
    -------
    Grid

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not a positive whole number, the grid ends at ``sigma = 0``, or the schedule lacks its ends.
    """
    if not np.isfinite(grid.lam[-1]):
        msg = f"grid={grid!r} ends at sigma = 0: resample the part before (grid.split), then diffnum.grids.to_zero"
        raise ValueError(msg)
    shares = np.linspace(0.0, grid.n, checked_steps(n) + 1)
    lam = np.interp(shares, np.arange(grid.n + 1), grid.lam)
    return from_half_log_snr(schedule, lam, terminal=grid.terminal)
