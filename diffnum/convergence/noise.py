"""Orders of methods with noise: which measurement answers for a problem, free of sampling noise where one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.coefficients.noise import NoisyMeasure
from diffnum.convergence.expectations import expectation_study
from diffnum.convergence.nodes import INTERVAL, PLAIN_INTERVAL
from diffnum.convergence.record import ConvergenceStudy
from diffnum.convergence.stochastic import law_study, monte_carlo_study, noisy_study, strong_study, weak_study
from diffnum.problems import Gaussian, Mixture1D
from diffnum.types import Problem, Schedule

__all__ = ["noisy_orders", "only_problem"]


def noisy_orders(
    record: Method,
    measure: NoisyMeasure,
    problem: Problem | Mapping[str, Problem] | None = None,
    *,
    schedule: Schedule | None = None,
    grids: Sequence[str] = GRID_KINDS,
    steps: Sequence[int] | None = None,
    points: int | None = None,
    interval: tuple[float, float] | None = None,
    seed: int = 0,
) -> ConvergenceStudy:
    """Measure one of the orders of a method with noise, as shipped.

    On Gaussian data distances and moments follow from covariances. On mixtures in one dimension expectations are
    integrals, for methods with at most one past evaluation; other weak orders are estimated by Monte Carlo on paths
    that are shared with a fine reference.

    Parameters
    ----------
    record : Method
        Record with noise.
    measure : {"strong", "weak", "law"}
        Which order.
    problem, schedule, grids, steps, points, interval, seed
        As in :func:`~diffnum.convergence.study.convergence_study`; a Gaussian in 3-D by default.

    Raises
    ------
    ValueError
        If several problems are given, or the order in law is asked for on data where it is not known.
    """
    problem = only_problem(problem)
    linear = problem is None or isinstance(problem, Gaussian)
    given: dict[str, Any] = {
        "problem": problem,
        "schedule": schedule,
        "interval": interval or (INTERVAL if linear else PLAIN_INTERVAL),
    }
    given |= {} if steps is None else {"steps": tuple(steps)}
    if measure == "strong":
        return strong_study(record, grids=grids, points=points, seed=seed, **given)
    if linear:
        return (weak_study if measure == "weak" else law_study)(record, grids=grids, **given)
    if isinstance(problem, Mixture1D) and record.depth <= 1:
        found = [expectation_study(record, grid=kind, given_start=measure == "weak", **given) for kind in grids]
    elif measure == "weak":
        given |= {} if points is None else {"points": points}
        found = [monte_carlo_study(record, grid=kind, seed=seed, **given) for kind in grids]
    else:
        msg = (
            f"problem={type(problem).__name__}: the order in law is measured on Gaussian data and, for methods with at "
            "most one past evaluation, on mixtures in one dimension: use one of these, or measure='weak'"
        )
        raise ValueError(msg)
    return noisy_study(record, measure, [s for study in found for s in study.series])


def only_problem(problem: Problem | Mapping[str, Problem] | None) -> Problem | None:
    """The problem of a mapping of one.

    Raises
    ------
    ValueError
        If there are several.
    """
    if not isinstance(problem, Mapping):
        return problem
    if len(problem) != 1:
        msg = f"problem has {len(problem)} entries: with noise a study takes one, call it for each"
        raise ValueError(msg)
    return next(iter(problem.values()))
