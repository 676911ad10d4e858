"""Teachers of a fit: a converged plan of ours, and the end points that it reaches."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum import grids
from diffnum.calibration.hosts import Host, start_states
from diffnum.calibration.rivals import Samples, chunked_samples
from diffnum.jobs.ledger import Ledger
from diffnum.plans import Plan, plan
from diffnum.solver import iterate, solve
from diffnum.types import Array, FloatArray

__all__ = ["TEACHER", "Teacher", "converged_samples", "converged_teacher", "own_teacher"]

TEACHER = "dpmpp_3m_corrected"
_STEPS = (32, 64, 128, 256, 512, 1024)
_WITNESSES = 4
"""Noises on which convergence is judged."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A plan of many steps.

    Parameters
    ----------
    plan : Plan
        Its numbers.
    agreement : float
        Root-mean-square distance of its end points from those of half the steps, relative to their size; nan where the
        caller brought the plan.
    """

    plan: Plan
    agreement: float

    def ends(self, host: Host, part: Any, x: Array, key: str, ledger: Ledger) -> Array:
        """End points from first states, taken from the ledger where they are known."""
        if key not in ledger:
            end = host.numpy(solve(self.plan, part, x))
            kind = np.float32 if host.itemsize == 4 else np.float64
            ledger.put(key, base64.b64encode(end.astype(kind).tobytes()).decode())
        kind = np.float32 if host.itemsize == 4 else np.float64
        values = np.frombuffer(base64.b64decode(ledger[key]), dtype=kind).reshape(tuple(x.shape))
        return host.array(values.astype(np.float64))

    def kept(self, host: Host, part: Any, x: Array) -> tuple[FloatArray, list[Array]]:
        """Half-log-SNRs and states of the whole run, less the mean of the process."""
        schedule = host.model.schedule
        mean = schedule.mean
        shift = mean if isinstance(mean, float) else host.array(np.asarray(mean, dtype=np.float64))
        states = [x - shift, *(state.x - shift for state in iterate(self.plan, part, x))]
        return np.asarray(schedule.half_log_snr(self.plan.times)), states


def converged_teacher(host: Host, seed: int, ends: tuple[float, float], tolerance: float) -> Teacher:
    """Plan with so many steps that twice as many change little.

    Parameters
    ----------
    host : Host
        Where the model lives.
    seed : int
        Seed of the noises on which it is judged.
    ends : (float, float)
        Times of the first and the last state.
    tolerance : float
        Relative root-mean-square change that is small enough.

    Raises
    ------
    ValueError
        If 1024 steps are not enough, or the model returns what is not finite.
    """
    schedule = host.model.schedule
    part = host.part(0, _WITNESSES)
    x = start_states(host, seed, 0, _WITNESSES, ends[0])
    before, change = None, float("nan")
    for steps in _STEPS:
        numbers = plan(TEACHER, schedule, grids.uniform_half_log_snr(schedule, steps, t_start=ends[0], t_end=ends[1]))
        after = host.numpy(solve(numbers, part, x))
        if before is not None:
            change = float(np.sqrt(((after - before) ** 2).mean() / (after**2).mean()))
            if change < tolerance:
                return Teacher(numbers, change)
        before = after
    msg = (
        f"{_STEPS[-1]} steps of {TEACHER} still change by {change:.1e}, more than teacher_tolerance={tolerance:g}: "
        "give a larger tolerance, or a plan of your own as teacher="
    )
    raise ValueError(msg)


def own_teacher(numbers: Plan, ends: tuple[float, float]) -> Teacher:
    """Teacher that the caller brought.

    Raises
    ------
    ValueError
        If it is stochastic or runs between other times.
    """
    if any(step.noises for step in numbers.steps):
        msg = f"teacher={numbers!r} is stochastic, its end point is no function of the start: give a deterministic plan"
        raise ValueError(msg)
    if not np.allclose(numbers.times[[0, -1]], ends, rtol=1e-6):
        msg = (
            f"teacher={numbers!r} runs from {numbers.times[0]:g} to {numbers.times[-1]:g} and the fit from {ends[0]:g} "
            f"to {ends[1]:g}: give both the same ends"
        )
        raise ValueError(msg)
    return Teacher(numbers, float("nan"))


def converged_samples(
    host: Host, ends: tuple[float, float], n: int, seed: int, *, tolerance: float = 1e-3, chunk: int = 64
) -> Samples:
    """Noises 0 to n - 1 of a seed with the end points of a converged run, to hold plans against.

    Parameters
    ----------
    host : Host
        Where the model lives (:func:`diffnum.calibration.hosts.host_of`).
    ends : (float, float)
        Times of the first and the last state.
    n, seed : int
        Number of samples, and seed of their noises.
    tolerance : float
        As ``teacher_tolerance`` of :func:`fit_plan`.
    chunk : int
        Samples that go through at once.
    """
    guide, nothing = converged_teacher(host, seed, ends, tolerance), Ledger(None)

    def reached(part: Any, x: Array, first: int) -> Array:
        return guide.ends(host, part, x, str(first), nothing)

    parts, x, target = zip(*chunked_samples(host, reached, seed, range(n), chunk, ends), strict=True)
    return Samples(host, parts, x, target)
