"""Teachers of a fit: a converged plan of ours, and the end points that it reaches."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffnum import grids
from diffnum.calibration.hosts import Host, start_states
from diffnum.calibration.rivals import Memo, Samples
from diffnum.jobs.ledger import Ledger, digest
from diffnum.plans import Plan, plan
from diffnum.solver import iterate, solve
from diffnum.types import Array, FloatArray

__all__ = ["TEACHER", "Teacher", "converged_samples", "converged_teacher", "memo_of", "own_teacher", "taught"]

TEACHER = "dpmpp_3m_corrected"
_STEPS = (32, 64, 128, 256, 512, 1024)
_WITNESSES = 4
"""Noises on which convergence is judged."""

_BLOCK = 16
"""Samples whose end points are found, and kept, together: the same whoever asks, so that their bits are."""


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

    def ends(self, host: Host, seed: int, indices: range, t_start: float, memo: Memo) -> FloatArray:
        """End points of a range of samples, shape (n, ...), taken from the memo where it knows them."""
        kind = np.float32 if host.itemsize == 4 else np.float64

        def found(first: int, count: int) -> str:
            end = host.numpy(solve(self.plan, host.part(first, count), start_states(host, seed, first, count, t_start)))
            return base64.b64encode(end.astype(kind).tobytes()).decode()

        blocks = []
        for first in range(indices.start, indices.stop, _BLOCK):
            count = min(_BLOCK, indices.stop - first)
            words = memo.known(f"ends/{first}/{count}", partial(found, first, count))
            blocks.append(np.frombuffer(base64.b64decode(words), dtype=kind).reshape(count, *host.shape))
        return np.concatenate(blocks).astype(np.float64)

    def kept(self, host: Host, part: Any, x: Array) -> tuple[FloatArray, list[Array]]:
        """Half-log-SNRs and states of the whole run, less the mean of the process."""
        schedule = host.model.schedule
        mean = schedule.mean
        shift = mean if isinstance(mean, float) else host.array(np.asarray(mean, dtype=np.float64))
        states = [x - shift, *(state.x - shift for state in iterate(self.plan, part, x))]
        return np.asarray(schedule.half_log_snr(self.plan.times)), states


def memo_of(host: Host, seed: int, ends: tuple[float, float], teacher: Plan | float, ledger: Ledger) -> Memo:
    """Where a ledger keeps what is known of one model, run, seed and teacher (a plan, or the tolerance of our own)."""
    settings = {
        "identity": host.identity(), "schedule": host.model.schedule.to_dict(), "itemsize": host.itemsize, "seed": seed,
        "ends": list(ends), "teacher": teacher.to_dict() if isinstance(teacher, Plan) else float(teacher),
    }  # fmt: skip
    return Memo(ledger, digest(settings))


def taught(
    host: Host, guide: Teacher, seed: int, indices: range, ends: tuple[float, float], chunk: int, memo: Memo
) -> Samples:
    """Noises of a seed with the teacher's end points.

    Parameters
    ----------
    host : Host
        Where the model lives.
    guide : Teacher
        Whose end points are wanted.
    seed : int
        Seed of the noises.
    indices : range
        Which of its stream.
    ends : (float, float)
        Times of the first and the last state.
    chunk : int
        Samples that go through at once.
    memo : Memo
        Where the end points are kept.
    """
    reached = guide.ends(host, seed, indices, ends[0], memo)
    parts, x, target = [], [], []
    for first in range(indices.start, indices.stop, chunk):
        count = min(chunk, indices.stop - first)
        parts.append(host.part(first, count))
        x.append(start_states(host, seed, first, count, ends[0]))
        target.append(host.array(reached[first - indices.start :][:count]))
    return Samples(host, tuple(parts), tuple(x), tuple(target), indices.start, memo)


def converged_teacher(
    host: Host, seed: int, ends: tuple[float, float], tolerance: float, memo: Memo | None = None
) -> Teacher:
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
    memo : Memo, optional
        Where the number of steps is kept.

    Raises
    ------
    ValueError
        If 1024 steps are not enough, or the model returns what is not finite.
    """
    schedule = host.model.schedule

    def numbers(steps: int) -> Plan:
        grid = grids.uniform_half_log_snr(schedule, steps, t_start=ends[0], t_end=ends[1])
        return plan(TEACHER, schedule, grid)

    def measured() -> list[float]:
        part = host.part(0, _WITNESSES)
        x = start_states(host, seed, 0, _WITNESSES, ends[0])
        before, change = None, float("nan")
        for steps in _STEPS:
            after = host.numpy(solve(numbers(steps), part, x))
            if before is not None:
                change = float(np.sqrt(((after - before) ** 2).mean() / (after**2).mean()))
                if change < tolerance:
                    return [steps, change]
            before = after
        msg = (
            f"{_STEPS[-1]} steps of {TEACHER} still change by {change:.1e}, more than teacher_tolerance={tolerance:g}: "
            "give a larger tolerance, or a plan of your own as teacher="
        )
        raise ValueError(msg)

    steps, change = (Memo() if memo is None else memo).known("teacher", measured)
    return Teacher(numbers(int(steps)), float(change))


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
    host: Host,
    ends: tuple[float, float],
    n: int,
    seed: int,
    *,
    tolerance: float = 1e-3,
    chunk: int = 64,
    cache: str | Path | None = None,
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
    cache : path, optional
        File in which end points, and errors of plans on them, are kept.
    """
    memo = memo_of(host, seed, ends, tolerance, Ledger(None if cache is None else Path(cache)))
    return taught(host, converged_teacher(host, seed, ends, tolerance, memo), seed, range(n), ends, chunk, memo)
