r"""Parareal: a coarse run carries to the end what fine runs of slices of time, all at once, found.

A plan is cut into slices. With F its steps through one of them, and G those of a coarse plan, round ``k`` makes

.. math:: y_{n+1}^{k+1} = G(y_n^{k+1}) + F(y_n^k) - G(y_n^k).

The runs F of a round start from states that are known, so that they go side by side, one call of the model for each
fine step; the runs G follow each other. The fixed point is the fine run: after ``k`` rounds its first ``k`` slices are
final. With Picard's iteration (:mod:`diffnum.solver.picard`) all evaluations wait for one guess; here the guess is a
run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from diffnum.forms import PREDICTIONS, conversion
from diffnum.plans import Plan
from diffnum.solver import Evaluation, Events, Noise, State, Trajectory, evaluations, numbers_for
from diffnum.solver.combining import on
from diffnum.solver.noise import SampleStreams
from diffnum.solver.picard import ask, check_iteration, furthest
from diffnum.types import Array, Denoiser

__all__ = ["PararealRun", "solve_parareal"]


@dataclass(frozen=True, eq=False)
class PararealRun:
    """Result of a run by parareal.

    Parameters
    ----------
    x : array, shape (batch, ...)
        State at the end.
    rounds : int
        Rounds of fine runs.
    chain : int
        Evaluations that wait for each other, those of the coarse runs included: the time on a machine that is large
        enough.
    calls : int
        Evaluations in all, for each sample.
    sequential : int
        Evaluations of the fine run alone.
    states : Trajectory
        Times and states at the ends of the slices, the start included.
    changes : tuple of float
        Largest root mean square move, over slices and samples, of the states at their ends in each round.
    """

    x: Array
    rounds: int
    chain: int
    calls: int
    sequential: int
    states: Trajectory
    changes: tuple[float, ...]

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.rounds} rounds over {len(self.states.t) - 1} slices: a chain of {self.chain} in place of "
            f"{self.sequential} evaluations ({self.calls} in all)"
        )


def solve_parareal(
    plan: Plan,
    coarse: Plan,
    model: Denoiser,
    x: Array,
    *,
    tolerance: float = 1e-3,
    slices: int | None = None,
    rounds: int | None = None,
    stacked: bool = True,
    seed: int | None = None,
    noise: Noise | None = None,
) -> PararealRun:
    """Solve a plan by parareal: fine runs of its slices side by side, corrected by a coarse run through them.

    Parameters
    ----------
    plan : Plan
        The fine plan, whose run is the result: any of the catalogue, with or without memory and noise.
    coarse : Plan
        A plan of few steps between the same times, each of which ends where a step of ``plan`` does:
        ``dn.plan("ddim", schedule, dn.grids.from_times(schedule, plan.times[::10]))``. The noise of a
        stochastic one is left out; a stochastic ``plan`` needs one with its drift.
    model : Denoiser
        The model.
    x : array, shape (batch, ...)
        State at the start of the plan.
    tolerance : float
        Root mean square move of what a slice starts from (state and memory), between two rounds and for the worst
        sample, at which its fine run is final; 0 iterates until nothing moves, which is the sequential run.
    slices : int, optional
        Number of slices; one a coarse step by default.
    rounds : int, optional
        Largest number of rounds; as many as are needed, and never more than slices, by default.
    stacked : bool
        Ask for a fine step of all slices with one call, states stacked along the batch axis and a time for each. False
        asks one after the other, for models that are bound to their batch; the result is the same.
    seed : int, optional
        Seed of the noise of a stochastic plan.
    noise : callable, optional
        The noise itself, the same in every round, in place of the seed.

    Returns
    -------
    PararealRun

    Raises
    ------
    TypeError
        If ``plan`` or ``coarse`` is no plan.
    ValueError
        If a number is out of range, the coarse plan is of another schedule or ends a step where the fine one does not,
        a stochastic plan has neither seed nor noise, or a state is not finite.

    Notes
    -----
    The memory of a method at the start of a slice is that of the fine run of the slice before; in the first round all
    of it is what the coarse run is told at the start of the slice. On a linear problem with ``|G| <= 1`` and
    ``|F - G| <= d`` in each of N slices, k rounds leave at most ``binom(N - 1, k) d^k`` times the largest error of the
    coarse run at the ends of the slices.

    References
    ----------
    Lions, Maday, Turinici, C. R. Acad. Sci. Paris I 332 (2001) 661, for the method; Gander, Vandewalle, SIAM J. Sci.
    Comput. 29 (2007) 556, for convergence that is superlinear on bounded intervals.

    Examples
    --------
    >>> import diffnum as dn
    >>> schedule = dn.schedules.VPLinear()
    >>> model = dn.problems.three_peaks().denoiser(schedule)
    >>> grid = dn.grids.uniform_half_log_snr(schedule, n=64, t_start=1.0, t_end=1e-3)
    >>> fine = dn.plan("ddim", schedule, grid)
    >>> every_eighth = dn.grids.from_times(schedule, fine.times[::8])
    >>> coarse = dn.plan("ddim", schedule, every_eighth)
    >>> run = dn.solve_parareal(fine, coarse, model, np.array([[0.3]]))
    >>> run.chain < run.sequential
    True
    """
    check_iteration(tolerance, slices=slices, rounds=rounds)
    numbers, guide = numbers_for(plan, model), numbers_for(coarse, model)
    if not numbers.steps:
        return PararealRun(x, 0, 0, 0, 0, Trajectory((), ()), ())
    if noise is None and seed is not None:
        noise = SampleStreams(seed)
    evaluations(numbers, x, noise=noise)  # checks its arguments at the call
    parts = _parts(numbers, guide, slices)
    n = len(parts)

    starts = [State(part.first, part.t, {"x": x}) for part in parts]
    guides = [State(part.guide_first, part.guide_t, {"x": x}) for part in parts]
    ends: list[Array] = [x] * (n + 1)
    guessed: list[Array] = [x] * n
    calls = chain = 0
    known: list[Any] = [None, None]
    for i, part in enumerate(parts):  # the first guess
        (after, *new), *_ = _together([evaluations(part.guide, guides[i], noise=_silence)], model, False)
        # a corrector has answered ahead what the last slice would ask: then the last answer stands
        asked, answer = known = new if new[0] is not None else known
        ends[i + 1] = guessed[i] = after.x
        memory = {name: _memory(numbers, model, asked, answer) for name in part.plan.steps[0].inputs if i}
        starts[i] = starts[i]._replace(vectors={**memory, "x": ends[i]})
        if i + 1 < n:
            guides[i + 1] = State(after.step, parts[i + 1].guide_t, after.vectors)
        calls, chain = calls + part.guide.nfe, chain + part.guide.nfe

    done, first, changes = 0, 0, []
    while first < n and (rounds is None or done < rounds):
        live = range(first, n)
        fine = _together([evaluations(parts[i].plan, starts[i], noise=noise) for i in live], model, stacked)
        calls += sum(parts[i].plan.nfe for i in live)
        chain += max(parts[i].plan.nfe for i in live)
        done += 1
        moves = []
        for i, (after, _, _) in zip(live, fine, strict=True):
            new, part = after.x, parts[i]
            if i > first:  # the first one started from a final state, and is final
                run = evaluations(part.guide, guides[i]._replace(vectors=_at(guides[i], ends[i])), noise=_silence)
                (led, _, _), *_ = _together([run], model, False)
                new = new + (led.x - guessed[i])  # nothing, to the bit, where the coarse run did not move
                guessed[i] = led.x
                if i + 1 < n:
                    guides[i + 1] = guides[i + 1]._replace(vectors=led.vectors)
                calls, chain = calls + part.guide.nfe, chain + part.guide.nfe
            begins = {**after.vectors, "x": new}
            before = starts[i + 1].vectors if i + 1 < n else {"x": ends[n]}
            gaps = [furthest(begins[name], vector) for name, vector in before.items()]
            moves.append(max(gaps))
            if not all(map(math.isfinite, gaps)):
                msg = (
                    f"coarse: round {done} leaves the finite numbers in slice {i}: use a coarse plan of more steps if "
                    "dn.solve(plan, model, x) is finite"
                )
                raise ValueError(msg)
            ends[i + 1] = new
            if i + 1 < n:
                starts[i + 1] = starts[i + 1]._replace(vectors=begins)
        changes.append(max(moves))
        settled = next((j for j, move in enumerate(moves) if move > tolerance), len(moves))
        first += 1 + settled  # a slice whose start is final is final
    times = (parts[0].t, *(float(part.plan.steps[-1].t_to) for part in parts))
    return PararealRun(ends[n], done, chain, calls, numbers.nfe, Trajectory(times, tuple(ends)), tuple(changes))


class _Part(NamedTuple):
    """A slice: its steps in both plans, and where they begin."""

    plan: Plan
    first: int
    t: float
    guide: Plan
    guide_first: int
    guide_t: float


def _parts(plan: Plan, coarse: Plan, slices: int | None) -> list[_Part]:
    """Slices, between ends of steps that both plans have."""
    if plan.schedule != coarse.schedule:
        msg = f"coarse has the schedule {coarse.schedule!r}, plan {plan.schedule!r}: make both on one"
        raise ValueError(msg)
    count = len(coarse)
    n = count if slices is None else slices
    if not count:
        msg = "coarse has no steps: let both plans begin and end at the same times"
        raise ValueError(msg)
    if n > count:
        msg = f"slices={slices}: coarse has {count} steps, use at most as many slices"
        raise ValueError(msg)
    cuts = [i * count // n for i in range(n + 1)]
    times, wanted = plan.times, coarse.times[cuts]
    at = [int(np.argmin(np.abs(times - t))) for t in wanted]
    for t, place in zip(wanted, at, strict=True):
        if not math.isclose(t, times[place], rel_tol=1e-9, abs_tol=1e-12):
            msg = (
                f"coarse has the time t={t:g}, the nearest one of plan is {times[place]:g}: use a grid of times of "
                "plan, such as dn.grids.from_times(schedule, plan.times[::4])"
            )
            raise ValueError(msg)
    if (at[0], at[-1]) != (0, len(plan)):
        msg = (
            f"coarse goes from t={wanted[0]:g} to {wanted[-1]:g}, plan from {times[0]:g} to {times[-1]:g}: let both "
            "begin and end at the same times"
        )
        raise ValueError(msg)
    return [
        _Part(plan[a:b], a, plan[a].t_from, coarse[c:d], c, coarse[c].t_from)
        for a, b, c, d in zip(at, at[1:], cuts, cuts[1:], strict=False)
    ]


def _together(runs: Sequence[Events], model: Denoiser, stacked: bool) -> list[tuple[State, Evaluation, Array]]:
    """Runs in step with each other: the last state of each, the first question that it asked, and the answer."""
    last: list[Any] = [None] * len(runs)
    asked: list[Any] = [None] * len(runs)
    told: list[Any] = [None] * len(runs)
    replies: dict[int, Any] = dict.fromkeys(range(len(runs)))
    while replies:
        questions: dict[int, Evaluation] = {}
        for i, reply in replies.items():
            event = _next(runs[i], reply)
            while isinstance(event, State):
                last[i] = event
                event = _next(runs[i], None)
            if event is not None:
                questions[i] = event
        if not questions:
            break
        replies = dict(zip(questions, ask(model, list(questions.values()), stacked), strict=True))
        for i, question in questions.items():
            if asked[i] is None:
                asked[i], told[i] = question, replies[i]
    return list(zip(last, asked, told, strict=True))


def _next(run: Events, reply: Any) -> Evaluation | State | None:
    """What a run says next, None at its end."""
    try:
        return run.send(reply)
    except StopIteration:
        return None


def _at(state: State, x: Array) -> dict[str, Array]:
    """Vectors of a state whose sample is another one."""
    return {**state.vectors, "x": x}


def _memory(plan: Plan, model: Denoiser, asked: Evaluation, answer: Array) -> Array:
    """An answer as the steps of a plan hand it on: without the process's mean, in the form's own prediction."""
    alpha, sigma = float(plan.schedule.alpha(asked.t)), float(plan.schedule.sigma(asked.t))
    mean = on(answer, plan.schedule.mean)
    p, q = conversion(model.prediction, plan.history_prediction, alpha, sigma)
    share = float(PREDICTIONS[model.prediction](alpha, sigma)[0])
    return float(p) * (asked.x - mean) + float(q) * (answer - share * mean)


def _silence(step: int, index: int, like: Array) -> Array:  # noqa: ARG001
    """Noise of the coarse run: none, since what is added cancels in the correction."""
    return 0.0 * like
