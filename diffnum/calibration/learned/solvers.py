"""Learned solvers as records: numbers of others, with the plan that they are and what can be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffnum.analysis.spectrum import spectrum_error
from diffnum.calibration.learned.rolling import Rows, Unrolled, rolled, row_residuals
from diffnum.coefficients.method import Method
from diffnum.forms import SemilinearForm
from diffnum.grids import Grid, from_half_log_snr, from_times, resampled
from diffnum.plans import Plan, plan
from diffnum.types import FloatArray, Schedule

__all__ = ["LearnedGrid", "LearnedSolver", "Verdict"]

_LAST = 1e-3
"""Levels that lie as near to the end of a process are its end: the lists are printed with three or four digits."""


@dataclass(frozen=True, eq=False)
class LearnedGrid:
    """Levels that someone found.

    Parameters
    ----------
    name : str
        Name in :func:`~diffnum.calibration.read_learned`.
    levels : ndarray, shape (n + 1,)
        ``sigma / alpha``, decreasing; the last may be 0.
    source, cite : str
        Where they are from, and the key of the paper.
    """

    name: str
    levels: FloatArray
    source: str
    cite: str

    def grid(self, schedule: Schedule, n: int | None = None) -> Grid:
        """Nodes on a process.

        Parameters
        ----------
        schedule : Schedule
            A noising process that reaches these levels; a first level up to a percent above its own is its own.
        n : int, optional
            Another number of steps: half-log-SNR interpolated as in :func:`diffnum.grids.resampled`. The last step of a
            list that ends at 0 stays as it is, so that one step less is interpolated.
        """
        lam = -np.log(self.levels[self.levels > 0.0])
        first = float(schedule.half_log_snr(schedule.t_max))
        if lam[0] < first < lam[0] + 1e-2:
            lam[0] = first
        to_zero = bool(self.levels[-1] == 0.0)
        grid = from_half_log_snr(schedule, lam)
        if n is not None:
            grid = resampled(grid, schedule, n - to_zero)
        if to_zero and np.isinf(schedule.half_log_snr(schedule.t_min)):
            return from_times(schedule, np.append(grid.t, schedule.t_min))
        return grid.with_terminal("denoise") if to_zero else grid

    def plan(self, method: Method | str, schedule: Schedule, n: int | None = None) -> Plan:
        """A method of the catalogue on these nodes."""
        return plan(method, schedule, self.grid(schedule, n))


@dataclass(frozen=True)
class Verdict:
    """Grid or weights? The learned weights beside plain ones on the same grid.

    Parameters
    ----------
    plain : str
        Method of the catalogue on the grid of the solver.
    learned_rms_log, plain_rms_log : float
        RMS log-gain error over variances, log-uniform in [1e-4, 1].
    """

    plain: str
    learned_rms_log: float
    plain_rms_log: float


@dataclass(frozen=True, eq=False)
class LearnedSolver:
    """Weights and times that someone found.

    Parameters
    ----------
    name : str
        Name in :func:`~diffnum.calibration.read_learned`.
    numbers : Unrolled
        Its coefficients in the first state and the evaluations.
    t_end : float
        Time of its last state.
    schedule, form : Schedule, SemilinearForm
        The process it is for, and the coordinates in which it is written.
    source, license, cite : str
        Where it is from, what one may do with it, and the key of the paper.
    t_start : float, optional
        Time of its first state, where its first evaluation is made later.
    """

    name: str
    numbers: Unrolled
    t_end: float
    schedule: Schedule
    form: SemilinearForm
    source: str
    license: str
    cite: str
    t_start: float | None = None

    @property
    def nfe(self) -> int:
        """Evaluations."""
        return self.numbers.nfe

    @cached_property
    def plan(self) -> Plan:
        """The plan that it is, for any prediction."""
        return rolled(self.numbers, self.t_end, self.schedule, self.form.prediction, self.name, t_start=self.t_start)

    @property
    def grid(self) -> Grid:
        """Times of its evaluations and its end, latest first and each once, without the weights.

        A start without signal moves by a thousandth of the first step.
        """
        t = np.unique(np.append(self.numbers.t, self.t_end))[::-1].copy()
        if np.isinf(self.schedule.half_log_snr(float(t[0]))):
            t[0] -= 1e-3 * (t[0] - t[1])
        return from_times(self.schedule, t)

    def rows(self) -> Rows:
        """Consistency and order conditions of its rows."""
        return row_residuals(self.numbers, self.t_end, self.schedule, self.form)

    def verdict(self, plain: str = "lms_2") -> Verdict:
        """Its weights beside plain ones on its grid, on Gaussian data.

        Parameters
        ----------
        plain : str
            Method of the catalogue.
        """
        there = plan(plain, self.schedule, self.grid)
        return Verdict(plain, spectrum_error(self.plan).rms_log, spectrum_error(there).rms_log)
