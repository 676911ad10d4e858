"""Builders of grids, by the coordinate in which their nodes are regular."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from diffnum.grids.grid import Grid, Terminal, checked_steps
from diffnum.grids.nodes import in_half_log_snr, in_time, model_timesteps
from diffnum.jobs.checked import check_schedule
from diffnum.schedules import check_time
from diffnum.schedules.tools import anywhere
from diffnum.types import FloatArray, Schedule

__all__ = [
    "GRIDS",
    "irregular",
    "karras",
    "power_time",
    "quadratic_time",
    "rho_power",
    "smooth",
    "uniform_half_log_snr",
    "uniform_rho",
    "uniform_time",
]


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0.0):
        msg = f"{name} must be finite and positive, got {value!r}; pass {name} > 0"
        raise ValueError(msg)
    return float(value)


def _ends(schedule: Schedule, t_start: float | None, t_end: float | None) -> tuple[float, float]:
    check_schedule(schedule)
    # A schedule of someone else may lack the defaults.
    first = getattr(schedule, "default_t_start", schedule.t_max) if t_start is None else t_start
    last = getattr(schedule, "default_t_end", schedule.t_min) if t_end is None else t_end
    check_time(schedule, first, "t_start")
    check_time(schedule, last, "t_end")
    if first <= last:
        msg = f"t_start = {first!r} must be larger than t_end = {last!r}: sampling goes from noise to data; swap them?"
        raise ValueError(msg)
    return float(first), float(last)


# ---------------------------------------------------------------- the two ways to fill a grid


def _fractions(n: int) -> FloatArray:
    return np.arange(checked_steps(n) + 1) / n


def _between(first: float, last: float, fractions: FloatArray) -> FloatArray:
    """Affine map of increasing fractions that start at 0 and end at 1; both ends exact."""
    nodes = first + (last - first) * fractions
    nodes[0], nodes[-1] = first, last
    return nodes


def _finite_ends(schedule: Schedule, ends: tuple[float, float]) -> tuple[float, float]:
    lam = float(schedule.half_log_snr(ends[0])), float(schedule.half_log_snr(ends[1]))
    for argument, time, value in zip(("t_start", "t_end"), ends, lam, strict=True):
        if not math.isfinite(value):
            remedy = (
                "diffnum.grids.to_zero appends a node with sigma = 0"
                if value > 0.0
                else "diffnum.grids.uniform_time begins at pure noise"
            )
            msg = (
                f"{argument} = {time!r} has half-log-SNR {value!r}, which this grid cannot subdivide; move "
                f"it inside the domain ({remedy})"
            )
            raise ValueError(msg)
    return lam


def _mapped(
    schedule: Schedule,
    fractions: FloatArray,
    t_start: float | None,
    t_end: float | None,
    terminal: Terminal | str,
    name: str,
) -> Grid:
    """Half-log-SNRs that divide the range as ``fractions`` do."""
    ends = _ends(schedule, t_start, t_end)
    lam = _between(*_finite_ends(schedule, ends), fractions)
    return in_half_log_snr(schedule, lam, ends, terminal, name)


# ---------------------------------------------------------------- builders in the half-log-SNR


def uniform_half_log_snr(
    schedule: Schedule,
    n: int,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Equal steps in the half-log-SNR ("logSNR" in the DPM-Solver code; geometric in ``sigma / alpha``).

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    n : int
        Number of steps, at least 1.
    t_start, t_end : float, optional
        First and last time, ``t_start > t_end``.
    terminal : Terminal or str
        One of :data:`TERMINALS`.

    Returns
    -------
    Grid

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not a positive integer, a time is outside the schedule, the times are out of order, or an
        end has infinite half-log-SNR.
    """
    return _mapped(schedule, _fractions(n), t_start, t_end, terminal, "uniform_half_log_snr")


def smooth(
    schedule: Schedule,
    n: int,
    *,
    strength: float = 0.5,
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    r"""Half-log-SNRs at ``g(i / n)`` for a smooth map: ``g(u) = u + strength (1 - cos 2 pi u) / (2 pi)``.

    Step ratios tend to 1 as ``n`` grows, unlike those of :func:`irregular`. The largest
    step is ``(1 + strength) / (1 - strength)`` times the smallest one.

    Parameters
    ----------
    schedule, n, t_start, t_end, terminal
        As for :func:`uniform_half_log_snr`.
    strength : float
        From -1 to 1, both excluded; 0 is the uniform grid, positive puts the long steps first.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If the strength is not between -1 and 1.
    """
    if not -1.0 < strength < 1.0:
        msg = f"strength must be between -1 and 1, got {strength!r}; 0.5 is usual"
        raise ValueError(msg)
    u = _fractions(n)
    bump = (1.0 - np.cos(2.0 * np.pi * u)) / (2.0 * np.pi)
    return _mapped(schedule, u + strength * bump, t_start, t_end, terminal, "smooth")


def irregular(
    schedule: Schedule,
    n: int,
    *,
    pattern: Sequence[float] = (1.0, 1.7, 0.6),
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Half-log-SNR steps in a fixed repeating pattern: the same step ratios however fine the grid.

    No smooth map generates this family: it exposes methods whose order relies on slowly varying steps.

    Parameters
    ----------
    schedule, n, t_start, t_end, terminal
        As for :func:`uniform_half_log_snr`.
    pattern : sequence of float
        Relative step lengths, positive, repeated as often as needed.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If a length of the pattern is not positive.
    """
    lengths = np.array(pattern, dtype=np.float64)
    if lengths.ndim != 1 or lengths.size == 0 or not np.all(np.isfinite(lengths) & (lengths > 0.0)):
        msg = f"pattern must hold positive step lengths, got {pattern!r}; (1.0, 1.7, 0.6) is usual"
        raise ValueError(msg)
    sums = np.concatenate([[0.0], np.cumsum(np.resize(lengths, checked_steps(n)))])
    return _mapped(schedule, sums / sums[-1], t_start, t_end, terminal, "irregular")


def rho_power(
    schedule: Schedule,
    n: int,
    *,
    exponent: float = 1.0,
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Equal steps in ``(sigma / alpha)^(1 / exponent)``; DEIS' "rho" grids.

    Parameters
    ----------
    schedule, n, t_start, t_end, terminal
        As for :func:`uniform_half_log_snr`; here ``t_end`` may have ``sigma = 0``.
    exponent : float
        Positive; 1 is uniform in ``sigma / alpha``, 7 is Karras.

    Returns
    -------
    Grid
    """
    return _rho_grid(schedule, n, exponent, _ends(schedule, t_start, t_end), terminal, "rho_power")


def uniform_rho(
    schedule: Schedule,
    n: int,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Equal steps in ``sigma / alpha``.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    n : int
        Number of steps, at least 1.
    t_start, t_end : float, optional
        First and last time, ``t_start > t_end``.
    terminal : Terminal or str
        One of :data:`TERMINALS`.

    Returns
    -------
    Grid

    Raises
    ------
    TypeError, ValueError
        As :func:`uniform_half_log_snr`.
    """
    return _rho_grid(schedule, n, 1.0, _ends(schedule, t_start, t_end), terminal, "uniform_rho")


def karras(
    schedule: Schedule,
    n: int,
    *,
    rho: float = 7.0,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Equal steps in ``(sigma / alpha)^(1 / rho)`` (Karras et al. 2022, arXiv:2206.00364, eq. 5).

    There are ``n`` steps, hence ``n + 1`` positive noise levels; EDM's code counts the levels and adds
    zero: its "18 steps" are ``to_zero(karras(schedule, 17), schedule)``.

    Parameters
    ----------
    schedule, n, t_start, t_end, terminal
        As for :func:`uniform_half_log_snr`.
    rho : float
        Exponent, positive.
    sigma_min, sigma_max : float, optional
        Last and first ``sigma / alpha``, instead of ``t_end`` and ``t_start``.

    Returns
    -------
    Grid
    """
    if sigma_max is not None:
        t_start = _time_of_sigma(schedule, "sigma_max", sigma_max, "t_start", t_start)
    if sigma_min is not None:
        t_end = _time_of_sigma(schedule, "sigma_min", sigma_min, "t_end", t_end)
    return _rho_grid(schedule, n, _positive("rho", rho), _ends(schedule, t_start, t_end), terminal, "karras")


def _time_of_sigma(schedule: Schedule, sigma_name: str, sigma: float, time_name: str, time: float | None) -> float:
    if time is not None:
        msg = f"{sigma_name} = {sigma!r} and {time_name} = {time!r} say the same thing; pass one of them"
        raise ValueError(msg)
    found = float(anywhere(schedule).time(-math.log(_positive(sigma_name, sigma))))
    # An end that was given as sigma must not fall outside the domain, or miss it, by an ulp.
    for end in (
        schedule.t_max,
        schedule.t_min,
        *(getattr(schedule, f"default_{e}", found) for e in ("t_start", "t_end")),
    ):
        if math.isclose(found, end, rel_tol=1e-14):
            return float(end)
    if not schedule.t_min <= found <= schedule.t_max:
        low, high = (math.exp(-float(schedule.half_log_snr(t))) for t in (schedule.t_min, schedule.t_max))
        msg = (
            f"{sigma_name} = {sigma!r} is outside the noise levels sigma/alpha of schedule {schedule.name!r}, "
            f"{low:g} to {high:g}; choose one of them, or a schedule with a wider domain"
        )
        raise ValueError(msg)
    return found


def _rho_grid(
    schedule: Schedule,
    n: int,
    exponent: float,
    ends: tuple[float, float],
    terminal: Terminal | str,
    name: str,
) -> Grid:
    power = 1.0 / _positive("exponent", exponent)
    first, last = float(schedule.half_log_snr(ends[0])), float(schedule.half_log_snr(ends[1]))
    if not math.isfinite(first):
        msg = (
            f"t_start = {ends[0]!r} has infinite sigma / alpha; start later, as at schedule.default_t_start, or take "
            "diffnum.grids.uniform_time, which begins at pure noise"
        )
        raise ValueError(msg)
    # Relative to the first node, so that no power of exp(-lam) can overflow.
    roots = _between(1.0, math.exp(-(last - first) * power), _fractions(n))
    lam = np.empty_like(roots)
    lam[0], lam[-1] = first, last
    lam[1:-1] = first - np.log(roots[1:-1]) / power
    return in_half_log_snr(schedule, lam, ends, terminal, name)


# ---------------------------------------------------------------- builders in time


def power_time(
    schedule: Schedule,
    n: int,
    *,
    exponent: float = 2.0,
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Equal steps in ``t^(1 / exponent)``; DEIS' "t" grids.

    Parameters
    ----------
    schedule, n, t_start, t_end, terminal
        As for :func:`uniform_half_log_snr`; here ``t_end`` may have ``sigma = 0``, but must not be negative.
    exponent : float
        Positive; 1 is uniform, 2 quadratic.

    Returns
    -------
    Grid
    """
    return _power_time(schedule, n, exponent, _ends(schedule, t_start, t_end), terminal, "power_time")


def uniform_time(
    schedule: Schedule,
    n: int,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Equal steps in time; ``sigma`` may end at 0.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    n : int
        Number of steps, at least 1.
    t_start, t_end : float, optional
        First and last time, ``t_start > t_end``.
    terminal : Terminal or str
        One of :data:`TERMINALS`.

    Returns
    -------
    Grid

    Raises
    ------
    TypeError, ValueError
        As :func:`uniform_half_log_snr`.
    """
    ends = _ends(schedule, t_start, t_end)
    return in_time(schedule, _between(*ends, _fractions(n)), terminal, "uniform_time")


def quadratic_time(
    schedule: Schedule,
    n: int,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Equal steps in the root of time.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    n : int
        Number of steps, at least 1.
    t_start, t_end : float, optional
        First and last time, ``t_start > t_end``.
    terminal : Terminal or str
        One of :data:`TERMINALS`.

    Returns
    -------
    Grid

    Raises
    ------
    TypeError, ValueError
        As :func:`uniform_half_log_snr`.
    """
    return _power_time(schedule, n, 2.0, _ends(schedule, t_start, t_end), terminal, "quadratic_time")


def _power_time(
    schedule: Schedule,
    n: int,
    exponent: float,
    ends: tuple[float, float],
    terminal: Terminal | str,
    name: str,
) -> Grid:
    power = 1.0 / _positive("exponent", exponent)
    if ends[1] < 0.0:
        msg = f"t_end = {ends[1]!r} is negative and has no root; end at 0 or later, or use uniform_time"
        raise ValueError(msg)
    t = _between(ends[0] ** power, ends[1] ** power, _fractions(n)) ** (1.0 / power)
    t[0], t[-1] = ends
    return in_time(schedule, t, terminal, name)


GRIDS: Mapping[str, Callable[..., Grid]] = MappingProxyType(
    {
        builder.__name__: builder
        for builder in (
            uniform_half_log_snr,
            uniform_time,
            quadratic_time,
            power_time,
            karras,
            uniform_rho,
            rho_power,
            irregular,
            smooth,
            model_timesteps,
        )
    }
)
"""Builders by name; all take ``(schedule, n, *, terminal=)``, all but ``model_timesteps`` also end times."""
