r"""Orders of stochastic methods: strong on a shared Brownian path, weak from exact moments.

*Strong* order: the root mean square distance between a run and the exact solution driven by the same path. On Gaussian
data the reverse equation is linear and its solution is known as an integral against the path (:mod:`.reverse`). Run and
solution are linear in the start and the path, so that this distance follows from covariances, free of sampling noise;
:func:`strong_study` with ``points`` samples paths instead. On other data the reference is another method on a finer
grid and the same path.

*Weak* order: on Gaussian data the law of a run's end, given its start, is computed from the plan itself, so that the
errors of conditional mean and variance are free of sampling noise. So is the *order in law*, of mean and variance of
the end where the start has the exact marginal law: what a sampler is used for. Split methods, whose noise keeps exact
marginals, have a higher order there than as solutions of the equation. Linear drifts are not all there is: on mixtures
the biases of expectations are estimated by Monte Carlo, coupled to a fine reference on the same path, and no order is
stated unless the standard error is below a quarter of the finest bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from diffnum.analysis.gaussian import propagate_problem
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.extended_reverse import NoiseScale, noise_scale
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.coefficients.noise import NoisyMeasure
from diffnum.convergence.nodes import INTERVAL, fractions
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.rate import estimate_rate
from diffnum.convergence.record import ConvergenceStudy, Series
from diffnum.convergence.refinement import Ladder, refined
from diffnum.convergence.reverse import Level, exact_end, exact_transition, strong_distance
from diffnum.grids import from_half_log_snr
from diffnum.plans import Plan, plan
from diffnum.problems import Gaussian, three_peaks
from diffnum.schedules import VPLinear
from diffnum.solver import solve
from diffnum.solver.noise import NestedNoise, noise_intervals
from diffnum.types import FloatArray, Problem, Schedule

__all__ = [
    "EXPECTATIONS",
    "default_gaussian",
    "law_study",
    "make_plan",
    "monte_carlo_study",
    "noise_level",
    "noisy_study",
    "strong_study",
    "weak_study",
]

STRONG_STEPS = (16, 32, 64, 128, 256)
WEAK_STEPS = (20, 40, 80, 160, 320)
MONTE_CARLO_STEPS = (4, 8, 16, 32)

POINTS = 1024
"""Paths sampled where there is no exact distance."""

EXTRA_LEVELS = 5
"""Doublings of the finest level where the given ones do not decide."""

REFINEMENT = 16
"""Steps of a reference for one of the finest level, where there is no exact solution."""

EXPECTATIONS: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = {
    "E[x^2]": lambda x: (x**2).mean(axis=1),
    "E[cos x]": lambda x: np.cos(x).mean(axis=1),
}
"""Functions of states, shape (n, d) -> (n,), whose expectations a Monte-Carlo study compares."""


# -- studies -------------------------------------------------------------------------------------------


def strong_study(
    method: Method | str,
    *,
    problem: Problem | None = None,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRID_KINDS,
    steps: Sequence[int] = STRONG_STEPS,
    interval: tuple[float, float] = INTERVAL,
    points: int | None = None,
    seed: int = 0,
) -> ConvergenceStudy:
    """Measure the strong order of a stochastic method, start-up as shipped.

    Parameters
    ----------
    method : Method or str
        Record of a stochastic method, or its name.
    problem : Problem, optional
        A :class:`~diffnum.problems.Gaussian` is compared with the exact solution, anything else with another method
        on a grid 16 times as fine as the finest; by default a Gaussian in 3-D.
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    grids : sequence of {"uniform", "smooth", "irregular"}
        Kinds of grid, in half-log-SNR.
    steps : sequence of int
        Step counts, four or more.
    interval : (float, float)
        Half-log-SNR where the runs begin and end.
    points : int, optional
        Independent paths to sample, each with its own start from the exact marginal; by default none for a
        Gaussian, where covariances give the exact distance, and 1024 otherwise.
    seed : int
        Seed of starts and paths.

    Returns
    -------
    ConvergenceStudy

    Raises
    ------
    ValueError
        If the method is not stochastic, or the interval is not inside the schedule.
    """
    record, tau, rate = _approached(method, "strong")
    schedule = VPLinear() if schedule is None else schedule
    exact = default_gaussian() if problem is None else problem
    data = exact if isinstance(exact, Gaussian) and points is None else None
    oracle = Oracle(exact, schedule, interval, points or (POINTS if data is None else 2), seed)
    levels, series = Ladder.doubling(steps, EXTRA_LEVELS), []
    for kind in grids:
        if data is not None:

            def distance(n: int, kind: str = kind, data: Gaussian = data) -> FloatArray:
                return strong_distance(make_plan(record, oracle, kind, n), data, tau, rate)

            estimate = refined(distance, levels, partial(estimate_rate, scale=oracle.scale, grid=0.5))
        else:
            errors = _sampled(record, tau, rate, oracle, kind, steps, seed)
            estimate = estimate_rate(tuple(steps), errors, scale=oracle.scale, grid=0.5)
        series.append(Series(type(exact).__name__, kind, "as shipped", "strong", estimate, "strong error"))
    return noisy_study(record, "strong", series)


def _sampled(
    record: Method, tau: Level, rate: float, oracle: Oracle, kind: str, steps: Sequence[int], seed: int
) -> FloatArray:
    """Distances on sampled paths, shape (levels, points)."""
    exact = oracle.problem
    plans = [make_plan(record, oracle, kind, n) for n in steps]
    shape = oracle.state(oracle.interval[0]).shape
    if isinstance(exact, Gaussian):
        path = _path(plans, oracle, shape, seed)
        target = exact_end(exact, oracle, path, tau)
    else:
        reference, own_rate = _reference(record, tau, oracle, kind, max(steps))
        path = _path([*plans, reference], oracle, shape, seed)
        target = _run(reference, oracle, path, own_rate)
    return np.stack([np.sqrt(np.mean((_run(p, oracle, path, rate) - target) ** 2, axis=1)) for p in plans])


def weak_study(
    method: Method | str,
    *,
    problem: Gaussian | None = None,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRID_KINDS,
    steps: Sequence[int] = WEAK_STEPS,
    interval: tuple[float, float] = INTERVAL,
) -> ConvergenceStudy:
    """Measure the weak order of a stochastic method on Gaussian data, without sampling; start-up as shipped.

    Parameters
    ----------
    method : Method or str
        Record of a stochastic method, or its name.
    problem : Gaussian, optional
        By default one with eigenvalues from 0.1 to 4.
    schedule, grids, steps, interval
        As in :func:`strong_study`.

    Returns
    -------
    ConvergenceStudy
        For each grid the errors of the conditional mean (its gain) and of the conditional variance of the end given
        the start, root mean square over the eigen-directions.
    """
    record, tau, _ = _approached(method, "weak")
    schedule = VPLinear() if schedule is None else schedule
    exact = default_gaussian() if problem is None else problem
    oracle = Oracle(exact, schedule, interval, 2, 0)
    gain, variance = exact_transition(schedule, exact.eigenvalues, oracle.interval, tau)
    quantities = {"conditional mean": ("gain", gain)}
    if tau:
        quantities["conditional variance"] = ("noise_variance", variance)
    levels, series = Ladder.doubling(steps, EXTRA_LEVELS), []
    for kind in grids:
        for quantity, (field, truth) in quantities.items():

            def error(n: int, kind: str = kind, field: str = field, truth: Any = truth) -> FloatArray:
                output = propagate_problem(make_plan(record, oracle, kind, n), exact)
                return np.asarray(np.abs(getattr(output, field) - truth))

            estimate = refined(error, levels, partial(estimate_rate, scale=float(np.max(np.abs(truth)))))
            series.append(Series("Gaussian", kind, "as shipped", "weak", estimate, quantity))
    return noisy_study(record, "weak", series)


def law_study(
    method: Method | str,
    *,
    problem: Gaussian | None = None,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRID_KINDS,
    steps: Sequence[int] = WEAK_STEPS,
    interval: tuple[float, float] = INTERVAL,
) -> ConvergenceStudy:
    """Measure the order in law of a stochastic method on Gaussian data, without sampling; start-up as shipped.

    Parameters
    ----------
    method, problem, schedule, grids, steps, interval
        As in :func:`weak_study`.

    Returns
    -------
    ConvergenceStudy
        For each grid the errors of mean and variance of the end where the start has the exact marginal law, root mean
        square over the eigen-directions.
    """
    record, _, _ = _equation(method)
    schedule = VPLinear() if schedule is None else schedule
    exact = default_gaussian() if problem is None else problem
    oracle = Oracle(exact, schedule, interval, 2, 0)
    levels, series = Ladder.doubling(steps, EXTRA_LEVELS), []
    for kind in grids:
        for quantity, truth in (("mean", "marginal_mean"), ("variance", "marginal_variance")):

            def error(n: int, kind: str = kind, found: str = quantity, truth: str = truth) -> FloatArray:
                output = propagate_problem(make_plan(record, oracle, kind, n), exact, start="marginal")
                return np.asarray(np.abs(getattr(output, found) - getattr(output, truth)))

            estimate = refined(error, levels, estimate_rate)
            series.append(Series("Gaussian", kind, "as shipped", "law", estimate, f"{quantity} of the output"))
    return noisy_study(record, "law", series)


def monte_carlo_study(
    method: Method | str,
    *,
    problem: Problem | None = None,
    schedule: Schedule | None = None,
    grid: str = "uniform",
    steps: Sequence[int] = MONTE_CARLO_STEPS,
    interval: tuple[float, float] = (-1.0, 1.0),
    points: int = 2**16,
    expectations: Mapping[str, Callable[[FloatArray], FloatArray]] = EXPECTATIONS,
    refinement: int = 4,
    seed: int = 0,
) -> ConvergenceStudy:
    """Measure the weak order on nonlinear problems: biases of expectations, with their Monte-Carlo errors.

    Runs and a reference (a method of weak order 2, ``refinement`` times as many steps as the finest) share starts and
    paths, so that the errors of the differences are far below those of the expectations.

    Parameters
    ----------
    method, problem, schedule, steps, interval, seed
        As in :func:`strong_study`; by default the three-peaked mixture in 1-D.
    grid : {"uniform", "smooth", "irregular"}
        Kind of grid, in half-log-SNR.
    points : int
        Paths; the Monte-Carlo error falls with their square root. Taken in blocks, so that memory stays bounded.
    expectations : mapping of str to callable
        Functions of the end states, shape (n, d) -> (n,).
    refinement : int
        Steps of the reference for one of the finest run.

    Returns
    -------
    ConvergenceStudy
        One curve for each expectation; undecided where the error is not below a quarter of the finest bias.
    """
    record, tau, rate = _approached(method, "weak")
    schedule = VPLinear() if schedule is None else schedule
    exact: Problem = three_peaks() if problem is None else problem
    sums = np.zeros((2, len(steps), len(expectations)))
    for first in range(0, points, _BLOCK):
        count = min(_BLOCK, points - first)
        oracle = Oracle(exact, schedule, interval, count, seed + first)
        plans = [make_plan(record, oracle, grid, n) for n in steps]
        reference, own_rate = _reference(record, tau, oracle, grid, max(steps), refinement)
        path = _path([*plans, reference], oracle, (count, exact.dim), seed, first=first)
        target = _run(reference, oracle, path, own_rate)
        for i, numbers in enumerate(plans):
            end = _run(numbers, oracle, path, rate)
            for j, f in enumerate(expectations.values()):
                difference = f(end) - f(target)
                sums[0, i, j] += difference.sum()
                sums[1, i, j] += (difference**2).sum()
    bias = sums[0] / points
    spread = np.sqrt((sums[1] / points - bias**2) / points)
    series = tuple(
        Series(
            type(exact).__name__,
            grid,
            "as shipped",
            "weak",
            estimate_rate(tuple(steps), np.abs(bias[:, j]), floor=0.0),
            name,
            tuple(spread[:, j].tolist()),
        )
        for j, name in enumerate(expectations)
    )
    return noisy_study(record, "weak", series)


_BLOCK = 4096
"""Paths taken together in a Monte-Carlo study."""


# -- parts ---------------------------------------------------------------------------------------------


def default_gaussian() -> Gaussian:
    """Gaussian whose eigenvalues lie on both sides of the noise."""
    return Gaussian(np.array([0.5, -1.0, 0.2]), np.array([0.1, 1.0, 4.0]))


def _equation(method: Method | str) -> tuple[Method, Level, float]:
    """Record, noise level, and rate of the noise's weight on the path."""
    record = find_method(method) if isinstance(method, str) else method
    if record.noise is None:
        msg = f"method={record.name!r} is deterministic: use convergence_study with measure='global'"
        raise ValueError(msg)
    if record.parameters:
        msg = (
            f"method={record.name!r} takes {', '.join(record.parameters)} from its caller, so that it approaches no "
            "equation of its own: study the member with a fixed noise level"
        )
        raise ValueError(msg)
    if record.noise.level is None:
        return record, noise_scale(record.noise.scale), 0.0
    tau = float(record.noise.level)
    return record, tau, tau**2 if record.form.prediction == "data" else -1.0


def _approached(method: Method | str, measure: NoisyMeasure) -> tuple[Method, Level, float]:
    """The same, of a method that approaches an equation."""
    record, tau, rate = _equation(method)
    if record.noise is not None and not record.noise.approaches:
        msg = (
            f"method={record.name!r} approaches no equation, since its share of new noise does not fall with the step: "
            f"it has no {measure} order, use measure='law'"
        )
        raise ValueError(msg)
    return record, tau, rate


def noisy_study(record: Method, measure: NoisyMeasure, series: Sequence[Series]) -> ConvergenceStudy:
    """Study of a record with noise from its curves."""
    order = math.nan if record.noise is None else float(record.noise.order(measure))
    expected = dict.fromkeys((s.grid for s in series), order)
    return ConvergenceStudy(record.name, "as shipped", tuple(series), expected, measure=measure)


def noise_level(method: Method | str) -> tuple[Method, float]:
    """Record of a stochastic method and its noise level.

    Raises
    ------
    ValueError
        If the method is deterministic, or its noise level varies or is given by the caller.
    """
    record, tau, _ = _equation(method)
    if isinstance(tau, NoiseScale):
        message = f"method={record.name!r} has a noise level that varies: study one of a fixed level"
        raise ValueError(message)  # noqa: TRY004 - the caller named a method
    return record, tau


def make_plan(record: Method, oracle: Oracle, kind: str, n: int) -> Plan:
    """Plan on a kind of grid over the interval."""
    lam_start, lam_end = oracle.interval
    lam = lam_start + (lam_end - lam_start) * fractions(kind, n)
    lam[-1] = lam_end
    return plan(record, oracle.schedule, from_half_log_snr(oracle.schedule, lam))


def _reference(
    record: Method, tau: Level, oracle: Oracle, kind: str, finest: int, refinement: int = REFINEMENT
) -> tuple[Plan, float]:
    """Fine plan of a method other than the one under study, and the rate of its noise."""
    if isinstance(tau, NoiseScale):
        name, rate = f"er_sde_{2 if record.top == 3 else 3}_{tau.name}", 0.0
    else:
        own = record.noise is not None and record.noise.base == "trapezoid"
        stem = "sde_dpmpp_2m_heun" if own else "sde_trapezoid"  # never the method under study
        name, rate = f"{stem}_tau{tau:.17g}", tau**2
    return make_plan(find_method(name), oracle, kind, refinement * finest), rate


def _path(plans: Sequence[Plan], oracle: Oracle, shape: tuple[int, ...], seed: int, *, first: int = 0) -> NestedNoise:
    """Path whose edges are all nodes of all plans."""
    ends: Any = [end for p in plans for step in noise_intervals(p) for pair in step for end in pair]
    return NestedNoise([*oracle.interval, *ends], shape, seed, first=first)


def _run(numbers: Plan, oracle: Oracle, path: NestedNoise, rate: float) -> FloatArray:
    """End states of a run on a path."""
    x = oracle.state(oracle.interval[0])
    end: FloatArray = solve(numbers, oracle.denoiser(numbers.prediction), x, noise=path.source(numbers, rate))
    return end
