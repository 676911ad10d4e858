"""Grids of given nodes: times, half-log-SNRs, labels of a table; and a grid that goes on to sigma = 0."""

from __future__ import annotations

import math
import operator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from diffnum.grids.grid import Grid, Terminal, check_monotone, checked_nodes, checked_steps, find_terminal
from diffnum.jobs.checked import check_schedule
from diffnum.schedules import Tabulated, check_time
from diffnum.schedules.tools import anywhere
from diffnum.types import FloatArray, Schedule

__all__ = ["from_half_log_snr", "from_times", "in_half_log_snr", "in_time", "model_timesteps", "to_zero"]


def in_time(schedule: Schedule, t: FloatArray, terminal: Terminal | str, name: str) -> Grid:
    """Grid of times, which it keeps exactly."""
    return Grid(t, schedule.half_log_snr(t), find_terminal(terminal), name)


def in_half_log_snr(
    schedule: Schedule, lam: FloatArray, ends: tuple[float, float], terminal: Terminal | str, name: str
) -> Grid:
    """Grid of half-log-SNRs, which it keeps exactly, between two times, which it keeps too."""
    t = np.empty_like(lam)
    t[0], t[-1] = ends
    t[1:-1] = schedule.time(lam[1:-1])
    return Grid(t, lam, find_terminal(terminal), name)


def from_times(schedule: Schedule, t: ArrayLike, *, terminal: Terminal | str = "stop") -> Grid:
    """Grid of given times.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    t : array_like, shape (n + 1,)
        Strictly decreasing times of its domain.
    terminal : Terminal or str
        One of :data:`TERMINALS`.

    Returns
    -------
    Grid
    """
    check_schedule(schedule)
    times = checked_nodes("t", t)
    check_time(schedule, times, "t")
    check_monotone("t", times, "decrease")
    return in_time(schedule, times, terminal, "times")


def from_half_log_snr(schedule: Schedule, lam: ArrayLike, *, terminal: Terminal | str = "stop") -> Grid:
    """Grid of given half-log-SNRs, kept exactly.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    lam : array_like, shape (n + 1,)
        Strictly increasing half-log-SNRs that the schedule attains; the last may be ``+inf`` where
        ``sigma = 0`` is attained.
    terminal : Terminal or str
        One of :data:`TERMINALS`.

    Returns
    -------
    Grid
    """
    check_schedule(schedule)
    values = checked_nodes("lam", lam)
    check_monotone("lam", values, "increase")
    t = np.array(anywhere(schedule).time(values))  # checked below, under the caller's name
    for end, bound in (
        (0, schedule.t_max),
        (-1, schedule.t_min),
    ):  # an ulp outside is rounding of the inverse
        if math.isclose(t[end], bound, rel_tol=1e-12, abs_tol=1e-15):
            t[end] = bound
    check_time(schedule, t, "time of lam")
    return Grid(t, values, find_terminal(terminal), "half_log_snr")


def to_zero(grid: Grid, schedule: Schedule) -> Grid:
    """Append a node with ``sigma = 0``, at ``schedule.t_min``; the grid gains a step.

    Parameters
    ----------
    grid : Grid
        Ends at ``sigma > 0``.
    schedule : Schedule
        The noising process of the grid.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If the schedule has no noise-free time (VE), or the grid is there already.
    """
    if schedule.half_log_snr(float(schedule.t_min)) != math.inf:
        msg = (
            f"schedule {schedule.name!r} never reaches sigma = 0 (at t_min = {schedule.t_min!r} there is "
            "noise); stop at t_min with the terminal rule 'denoise' instead"
        )
        raise ValueError(msg)
    if grid.lam[-1] == math.inf:
        msg = f"grid already ends at sigma = 0 (t = {float(grid.t[-1])!r}); use it as it is"
        raise ValueError(msg)
    return replace(grid, t=np.append(grid.t, schedule.t_min), lam=np.append(grid.lam, math.inf))


def model_timesteps(
    schedule: Tabulated,
    n: int,
    *,
    spacing: str = "leading",
    offset: int = 0,
    final_label: int = 0,
    terminal: Terminal | str = "stop",
) -> Grid:
    """Integer labels of a trained network, spaced as diffusers does, down to label 0 or to clean data.

    With ``final_label=0`` the last step ends at label 0 (diffusers' ``final_sigmas_type="sigma_min"``); with
    ``final_label=-1`` it goes from the last of ``n`` labels to ``sigma = 0`` (``set_alpha_to_one``).

    Parameters
    ----------
    schedule : Tabulated
        The network's table, ``N`` labels.
    n : int
        Number of steps, at most ``N - 1``.
    spacing : {"leading", "linspace", "trailing"}
        "leading": multiples of ``N // k`` plus ``offset``, for ``k`` non-negative nodes; "linspace": rounded
        equal spacing over all labels; "trailing": rounded equal spacing ``N / n`` back from ``N - 1``.
    offset : int
        Added to the "leading" labels (``steps_offset`` of Stable Diffusion is 1); the final label stays.
    final_label : {0, -1}
        Where the last step ends.
    terminal : Terminal or str
        One of :data:`TERMINALS`.

    Returns
    -------
    Grid

    Raises
    ------
    TypeError
        If the schedule has no table.
    ValueError
        If the final label is neither 0 nor -1, or the table has fewer labels than nodes.
    """
    if not isinstance(schedule, Tabulated):
        msg = f"schedule must be Tabulated, got {schedule!r}; only a table has labels: use uniform_time"
        raise TypeError(msg)
    if final_label not in (0, -1):
        msg = f"final_label must be 0 or -1 (clean data), got {final_label!r}; pass one of the two"
        raise ValueError(msg)
    size, steps = schedule.size, checked_steps(n)
    nodes = steps + 1 if final_label == 0 else steps
    if nodes > size:
        msg = f"n = {steps} steps need {nodes} labels, but the table has {size}; take fewer steps"
        raise ValueError(msg)
    if spacing == "leading":
        labels = np.arange(nodes - 1, -1, -1) * (size // nodes) + operator.index(offset)
    elif spacing == "linspace":
        labels = np.rint(np.linspace(size - 1.0, 0.0, nodes))
    elif spacing == "trailing":
        labels = np.append(np.rint(size - np.arange(steps) * (size / steps)) - 1.0, [0.0] * (nodes - steps))
    else:
        msg = f"spacing = {spacing!r} is unknown; choose one of leading, linspace, trailing"
        raise ValueError(msg)
    t = np.append(labels, -1.0) if final_label else np.append(labels[:-1], 0.0)
    return replace(from_times(schedule, t, terminal=terminal), name="model_timesteps")
