"""Parallel in time: all evaluations of a run at once, again and again, until they agree with each other.

A run is a chain: evaluation ``i`` is asked at a point that the answers before it decide. Picard's iteration guesses all
answers, lets the loop compute where they would have been asked, and asks there, all at once. Its fixed point is the run
itself, whatever the method: after ``k`` sweeps the first ``k`` answers are those of the sequential run, to the bit.
Sweeps, not evaluations, are what a machine with room for many evaluations at once waits for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from diffnum.plans import Plan
from diffnum.solver import Evaluation, Noise, State, evaluations
from diffnum.solver.finite import check_last
from diffnum.solver.noise import SampleStreams
from diffnum.types import Array, Denoiser

__all__ = ["ParallelRun", "solve_parallel"]


@dataclass(frozen=True, eq=False)
class ParallelRun:
    """Result of a run that was iterated in parallel.

    Parameters
    ----------
    x : array, shape (batch, ...)
        State at the end.
    sweeps : int
        Rounds of parallel evaluations, the first guess included: the time on a machine that is large enough.
    calls : int
        Evaluations in all rounds, for each sample.
    sequential : int
        Evaluations of the sequential run, the largest number of sweeps that can be needed.
    changes : tuple of float
        Largest root mean square move, over evaluations and samples, of the points asked in each round after the first.
    """

    x: Array
    sweeps: int
    calls: int
    sequential: int
    changes: tuple[float, ...]

    def __str__(self) -> str:
        """One line."""
        return f"{self.sweeps} sweeps in place of {self.sequential} evaluations ({self.calls} in all)"


def solve_parallel(
    plan: Plan,
    model: Denoiser,
    x: Array,
    *,
    tolerance: float = 1e-3,
    window: int | None = None,
    sweeps: int | None = None,
    stacked: bool = True,
    seed: int | None = None,
    noise: Noise | None = None,
) -> ParallelRun:
    """Solve a plan by Picard's iteration over its evaluations, in a window that moves with what has converged.

    Parameters
    ----------
    plan : Plan
        Any plan of the catalogue, with one or more evaluations a step, with or without noise.
    model : Denoiser
        The model.
    x : array, shape (batch, ...)
        State at the start of the plan.
    tolerance : float
        Root mean square move of the point of an evaluation, between two rounds and for the worst sample, at which its
        answer is final; 0 iterates until nothing moves, which is the sequential run.
    window : int, optional
        Evaluations asked at once, for each sample; all by default.
    sweeps : int, optional
        Largest number of rounds; as many as are needed by default.
    stacked : bool
        Ask with one call, states stacked along the batch axis and a time for each. False asks one after the other, for
        models that are bound to their batch, as networks with labels are; the result is the same.
    seed : int, optional
        Seed of the noise of a stochastic plan.
    noise : callable, optional
        The noise itself, the same in every round, in place of the seed.

    Returns
    -------
    ParallelRun

    Raises
    ------
    ValueError
        If a number is out of range, a stochastic plan has neither seed nor noise, or a point or the end is not finite.

    Notes
    -----
    For a method whose increments have the Lipschitz constant L over an interval of length Lambda the error after k
    rounds is of size (L Lambda)^k / k!.

    References
    ----------
    Shih et al., arXiv:2305.16317, algorithm 1, for the window; theirs stops by a norm scaled with the noise of a step.
    """
    check_iteration(tolerance, window=window, sweeps=sweeps)
    numbers = plan.for_prediction(model.prediction) if plan.steps else plan
    if noise is None and seed is not None:
        noise = SampleStreams(seed)
    total = numbers.nfe
    if not total:
        return ParallelRun(x, 0, 0, 0, ())
    start = numbers.steps[0].t_from
    answers: list[Array] = [model(x, start)] * total
    asked, end = _points(numbers, x, answers, noise)
    first, done, calls, changes = 1, 1, 1, []  # the first answer is right: it is asked at the start
    while first < total and (sweeps is None or done < sweeps):
        last = min(total, first + (window or total))
        answers[first:last] = ask(model, asked[first:last], stacked)
        answers[last:] = [answers[last - 1]] * (total - last)
        done, calls = done + 1, calls + last - first
        before, (asked, end) = asked, _points(numbers, x, answers, noise)
        moves = [furthest(a.x, b.x) for a, b in zip(asked[first:last], before[first:last], strict=True)]
        changes.append(max(moves))
        if not all(map(math.isfinite, moves)):
            msg = (
                f"the points of round {done} are not finite: use smaller steps if dn.solve(plan, model, x) says so too"
            )
            raise ValueError(msg)
        settled = next((i for i, move in enumerate(moves) if move > tolerance), len(moves))
        first += max(settled, 1)  # what depends on final answers only is final
    # an answer is seen at the points that it moves, and the last one moves the end alone
    check_last(f"the end of round {done}", end, "use smaller steps if dn.solve(plan, model, x) says so too")
    return ParallelRun(end, done, calls, total, tuple(changes))


def _points(plan: Plan, x: Array, answers: Sequence[Array], noise: Noise | None) -> tuple[list[Evaluation], Array]:
    """Where a run with given answers asks, and where it ends."""
    run = evaluations(plan, x, noise=noise)
    asked: list[Evaluation] = []
    end, reply = x, None
    while True:
        try:
            event = run.send(reply)
        except StopIteration:
            return asked, end
        if isinstance(event, State):
            end, reply = event.x, None
        else:
            reply = answers[len(asked)]
            asked.append(event)


def check_iteration(tolerance: float, **counts: int | None) -> None:
    """Refuse a tolerance or a largest number that is out of range.

    Parameters
    ----------
    tolerance : float
        At which an iteration stops.
    **counts : int, optional
        Largest numbers, by the names of their arguments.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    if not 0 <= tolerance < float("inf"):
        msg = f"tolerance={tolerance}: use a finite number >= 0"
        raise ValueError(msg)
    for name, count in counts.items():
        if count is not None and (isinstance(count, bool) or int(count) != count or count < 1):
            msg = f"{name}={count}: use a whole number >= 1, or None for no limit"
            raise ValueError(msg)


def ask(model: Denoiser, asked: Sequence[Evaluation], stacked: bool) -> list[Array]:
    """Answers of a model to many questions.

    Parameters
    ----------
    model : Denoiser
        The model.
    asked : sequence of Evaluation
        Questions, in states of one shape.
    stacked : bool
        Whether it is called once, with states stacked along the batch axis.

    Returns
    -------
    list of array
    """
    if not stacked:
        return [model(one.x, one.t) for one in asked]
    x = asked[0].x
    xp, n = array_namespace(x), x.shape[0]
    times = xp.asarray([one.t for one in asked for _ in range(n)], dtype=x.dtype, device=x.device)
    together = model(xp.concat([one.x for one in asked]), times)
    return [together[i * n : (i + 1) * n] for i in range(len(asked))]


def furthest(a: Array, b: Array) -> float:
    """Root mean square distance of the sample that moved most, between two states of shape (batch, ...)."""
    xp: Any = array_namespace(a)
    gap = xp.reshape(a - b, (a.shape[0], -1))
    return float(xp.max(xp.mean(gap * gap, axis=1)) ** 0.5)
