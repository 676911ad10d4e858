"""The catalogue by its error over a spectrum: every method on every grid, beside the best that is possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from types import MappingProxyType
from typing import Any

import numpy as np

from diffnum.analysis.chain import NOISE_LEVELS, VARIANCES, Pair, checked_levels, checked_nfe
from diffnum.analysis.limit import GaussianLimit, gaussian_limit
from diffnum.analysis.spectrum import default_variances, spectrum_error
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.catalogue import methods as all_methods
from diffnum.coefficients.method import Method
from diffnum.grids import GRIDS, Grid, karras, quadratic_time, uniform_half_log_snr, uniform_time
from diffnum.jobs.shown import short, table_html
from diffnum.plans import plan
from diffnum.schedules import VPFitted
from diffnum.types import Schedule

__all__ = ["NAMED_GRIDS", "RANKED_GRIDS", "Rank", "Ranking", "rank"]

RANKED_GRIDS: Mapping[str, Callable[..., Grid]] = MappingProxyType(
    {make.__name__: make for make in (uniform_half_log_snr, karras, quadratic_time, uniform_time)}
)
"""Grids that are ranked by default; all take ``(schedule, n, t_start=, t_end=)``."""

NAMED_GRIDS: Mapping[str, Callable[..., Grid]] = MappingProxyType(
    {name: make for name, make in GRIDS.items() if "t_end" in signature(make).parameters}
)
"""All that take these, those of order studies among them: what may be asked for by name."""


@dataclass(frozen=True)
class Rank:
    """One method on one grid.

    Parameters
    ----------
    method, grid : str
        Names in the catalogue and in :data:`diffnum.grids.GRIDS`.
    nfe : int
        Evaluations that the plan uses, at most those allowed.
    rms_log, worst : float
        As in :class:`~diffnum.analysis.spectrum.SpectrumError`.
    """

    method: str
    grid: str
    nfe: int
    rms_log: float
    worst: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """Methods on grids, best first, beside the limit.

    Parameters
    ----------
    nfe : int
        Evaluations allowed.
    limit : GaussianLimit
        What no method can beat in ``worst``.
    rows : tuple of Rank
        By ``rms_log``, ascending.
    """

    nfe: int
    limit: GaussianLimit
    rows: tuple[Rank, ...]

    @property
    def best(self) -> Rank:
        """Row with the least ``rms_log``."""
        return self.rows[0]

    @property
    def least_worst(self) -> Rank:
        """Row with the least ``worst``, the number that the limit bounds."""
        return min(self.rows, key=lambda row: row.worst)

    def best_by_method(self) -> tuple[Rank, ...]:
        """The best grid of each method, by ``rms_log``, ascending."""
        found: dict[str, Rank] = {}
        for row in self.rows:
            found.setdefault(row.method, row)
        return tuple(found.values())

    def __repr__(self) -> str:
        """Short form; ``str`` has the table."""
        best = f"{self.best.method} on {self.best.grid}"
        return short("Ranking", best, nfe=self.nfe, rms_log=self.best.rms_log, rows=len(self.rows))

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [("the limit", "", self.nfe, None, self.limit.error)]
        rows += [(r.method, r.grid, r.nfe, r.rms_log, r.worst) for r in self.best_by_method()]
        return table_html(
            ("method", "best grid", "NFE", "RMS log gain", "worst error"), rows, f"{self.nfe} evaluations"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return {
            "nfe": self.nfe,
            "noise_levels": list(self.limit.noise_levels),
            "variances": list(self.limit.variances),
            "limit": self.limit.error,
            "levels": self.limit.levels.tolist(),
            "zeros": self.limit.zeros.tolist(),
            "rows": [
                {"method": r.method, "grid": r.grid, "nfe": r.nfe, "rms_log": r.rms_log, "worst": r.worst}
                for r in self.rows
            ],
        }

    def __str__(self) -> str:
        """Table: each method on its best grid, and the limit on top."""
        low, high = self.limit.variances
        shown = self.best_by_method()
        width = max([len("the limit"), *(len(row.method) for row in shown)])
        lines = [
            f"{self.nfe} evaluations, sigma/alpha {self.limit.noise_levels[0]:g} to {self.limit.noise_levels[1]:g}, "
            f"variances {low:g} to {high:g}",
            f"{'method':<{width}}  {'best grid':<21} {'NFE':>4} {'RMS log gain':>13} {'worst error':>12} {'/limit':>9}",
            f"{'the limit':<{width}}  {'':<21} {self.nfe:>4} {'':>13} {self.limit.error:>12.3g} {1:>9}",
        ]
        lines += [
            f"{r.method:<{width}}  {r.grid:<21} {r.nfe:>4} {r.rms_log:>13.3g} {r.worst:>12.3g} "
            f"{r.worst / self.limit.error if self.limit.error else np.inf:>9.2g}"
            for r in shown
        ]
        return "\n".join(lines)


def rank(
    nfe: int,
    variances: Pair = VARIANCES,
    noise_levels: Pair = NOISE_LEVELS,
    *,
    methods: Iterable[Method | str] | None = None,
    grids: Mapping[str, Callable[..., Grid]] | Sequence[str] | None = None,
    schedule: Schedule | None = None,
    points: int = 201,
) -> Ranking:
    """Rank methods on grids by their error over a range of variances, beside the limit.

    Parameters
    ----------
    nfe : int
        Evaluations allowed, at least 1; each plan takes as many steps as fit, and methods that need more are left out.
    variances : (float, float)
        Range of the variances of the data, ``0 < low <= high < inf``.
    noise_levels : (float, float)
        ``sigma / alpha`` at the start and at the end, ``start > end > 0``.
    methods : iterable of str or Method, optional
        All listed deterministic methods by default, but those that ask for parameters.
    grids : mapping of str to callable, or sequence of str, optional
        Builders by name, or names of :data:`NAMED_GRIDS`; those of :data:`RANKED_GRIDS` by default.
    schedule : Schedule, optional
        The noising process; linear beta fitted to the two noise levels by default.
    points : int
        Variances of the range, log-uniform.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        If a number is out of range, a name is unknown, nothing is left to rank, or the schedule lacks a noise level.

    Examples
    --------
    >>> found = rank(5, methods=("ddim", "dpmpp_2m", "ipndm_3"), points=41)
    >>> found.best.worst > found.limit.error
    True
    """
    count = checked_nfe(nfe)
    start, end = checked_levels(noise_levels)
    if end == 0.0:
        msg = f"noise_levels={noise_levels!r} end at 0, where no grid in half-log-SNR goes: end above 0"
        raise ValueError(msg)
    limit = gaussian_limit(count, noise_levels, variances)
    c = np.union1d(default_variances(*limit.variances, points), limit.extrema)
    noising = _fitted(start, end) if schedule is None else schedule
    times = tuple(_time(noising, level) for level in (start, end))
    builders = _builders(grids)
    records = [find_method(m) if isinstance(m, str) else m for m in (all_methods() if methods is None else methods)]
    rows = []
    for record in records:
        if record.parameters:
            continue
        for name, make in builders.items():
            try:
                steps = record.steps_for(count)
            except ValueError:
                continue
            numbers = plan(record, noising, make(noising, steps, t_start=times[0], t_end=times[1]))
            error = spectrum_error(numbers, c)
            rows.append(Rank(record.name, name, numbers.nfe, error.rms_log, error.worst))
    if not rows:
        msg = f"methods={methods!r} and nfe={count} leave nothing to rank: allow more of them"
        raise ValueError(msg)
    return Ranking(count, limit, tuple(sorted(rows, key=lambda row: (row.rms_log, row.worst))))


def _fitted(start: float, end: float) -> Schedule:
    """Variance-preserving schedule with linear beta between two noise levels."""
    try:
        return VPFitted(sigma_min=end, sigma_max=start)
    except ValueError as error:
        msg = f"noise_levels={(start, end)!r}: {error}; or pass schedule="
        raise ValueError(msg) from None


def _time(schedule: Schedule, level: float) -> float:
    """Time of a noise level; an end of the schedule is met exactly."""
    t = float(schedule.time(-np.log(level)))
    for bound in (schedule.t_max, schedule.t_min):
        if np.isclose(t, bound, rtol=1e-12, atol=1e-15):
            return float(bound)
    return t


def _builders(grids: Mapping[str, Callable[..., Grid]] | Sequence[str] | None) -> Mapping[str, Callable[..., Grid]]:
    """Builders of grids by name."""
    if grids is None:
        return RANKED_GRIDS
    if isinstance(grids, Mapping):
        return grids
    if unknown := [name for name in grids if name not in NAMED_GRIDS]:
        msg = f"grids={unknown!r} are unknown: use {', '.join(NAMED_GRIDS)}, or pass builders by name"
        raise ValueError(msg)
    return {name: NAMED_GRIDS[name] for name in grids}
