r"""Time shift (TS-DPM): the network is told another level than that of the state, as a rule of the plan.

A run that loses variance has states that look like those of a later level. After each step the time is looked for, in a
window around the next node, whose variance is that of the state, and the network is told that time; state and weights
stay where they are. The rule ignores the data's share of the variance, which is why it stops at a cutoff.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from diffnum.calibration.hosts import host_of, start_states
from diffnum.forms import predict
from diffnum.jobs.checked import check_number
from diffnum.plans import Plan
from diffnum.solver import State, evaluations
from diffnum.types import Array, Denoiser, FloatArray

__all__ = ["TimeShift", "time_shifted"]


@dataclass(frozen=True, eq=False)
class TimeShift:
    """A plan whose network is told other times.

    Parameters
    ----------
    plan : Plan
        Its numbers, for noise prediction.
    nominal, told : ndarray, shape (nfe,)
        Times of the states, and times that the network is told.
    variances : ndarray, shape (nfe,)
        Mean variance of the states over their coordinates.
    """

    plan: Plan
    nominal: FloatArray
    told: FloatArray
    variances: FloatArray


def time_shifted(
    plan: Plan,
    model: Denoiser,
    *,
    window: float,
    cutoff: float,
    data_variance: float = 0.0,
    n: int = 64,
    seed: int = 0,
    label: Any = None,
) -> TimeShift:
    """Shift the times that the network is told to those whose variance the states have.

    Parameters
    ----------
    plan : Plan
        Deterministic, on the model's schedule.
    model : Denoiser
        A network, or the exact denoiser of a problem.
    window : float
        Width of the window around each time, in units of time.
    cutoff : float
        Times at or below are left alone, as is the first.
    data_variance : float
        The variance at t is taken as ``alpha^2 data_variance + sigma^2``; 0 as published, the mean variance of the
        data for what is meant.
    n, seed : int
        Noises on which the variances are measured. (The published shift is one of each sample; in many dimensions
        their variances agree.)
    label : int, "each" or None
        Condition of a network with classes.

    Returns
    -------
    TimeShift

    Raises
    ------
    ValueError
        If an argument is out of range or the plan is stochastic.

    References
    ----------
    Li et al., arXiv:2305.15583, algorithm 2; Mingxiao-Li/TS-DPM at 146954fc, sampler/pnm_solver.py, apply_time_shift
    (which moves the *end* of the next step, with the variance of the state before it) and sampler/deis_sampler.py
    (which moves the evaluation, as here).
    """
    check_number("cutoff", cutoff)
    if not window > 0.0 or not data_variance >= 0.0:
        msg = f"window={window!r}, data_variance={data_variance!r}: use a positive width and a variance from 0 on"
        raise ValueError(msg)
    if any(step.noises for step in plan.steps) or plan.history:
        msg = f"plan={plan!r}: give a deterministic plan without a history"
        raise ValueError(msg)
    schedule, host = plan.schedule, host_of(model, label=label)
    numbers = plan.for_prediction("noise")

    def variance_at(t: float) -> float:
        return float(schedule.alpha(t)) ** 2 * data_variance + float(schedule.sigma(t)) ** 2

    part = host.part(0, n)
    run = evaluations(numbers, start_states(host, seed, 0, n, float(plan.times[0])))
    nominal: list[float] = []
    told: list[float] = []
    variances: list[float] = []
    reply: Array | None = None
    while True:
        try:
            event = run.send(reply)
        except StopIteration:
            break
        reply = None
        if isinstance(event, State):
            continue
        values = host.numpy(event.x).reshape(n, -1)
        variance = float(values.var(axis=1).mean())
        t = event.t
        if nominal and t > cutoff:
            bounds = (
                max(t - 0.5 * window, cutoff, schedule.t_min),
                min(t + 0.5 * window, float(plan.times[0])),
            )
            t = _nearest(variance_at, variance, bounds)
        nominal.append(event.t)
        told.append(t)
        variances.append(variance)
        reply = predict(part, event.x, t, "noise")
    return TimeShift(_told(numbers, np.array(told)), np.array(nominal), np.array(told), np.array(variances))


def _nearest(variance_at: Callable[[float], float], variance: float, bounds: tuple[float, float]) -> float:
    """Time in the window whose variance is nearest."""
    grid = np.linspace(*bounds, 65)
    off = [abs(variance_at(t) - variance) for t in grid.tolist()]
    i = int(np.argmin(off))
    low, high = grid[max(i - 1, 0)], grid[min(i + 1, 64)]
    found = minimize_scalar(
        lambda t: (variance_at(float(t)) - variance) ** 2,
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return float(found.x) if found.fun < off[i] ** 2 else float(grid[i])


def _told(numbers: Plan, told: FloatArray) -> Plan:
    """The plan with other times for the network."""
    schedule, steps, first = numbers.schedule, [], 0
    for step in numbers.steps:
        t = told[first : first + step.nfe]
        first += step.nfe
        alpha, sigma = np.asarray(schedule.alpha(t)), np.asarray(schedule.sigma(t))
        steps.append(replace(step, stage_t=t, stage_alpha=alpha, stage_sigma=sigma))
    return replace(numbers, method=f"{numbers.method}, time shifted", steps=tuple(steps))
