"""Assert the order of a sampler, and say what is likely wrong where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.convergence.judgement import judge
from diffnum.convergence.record import ConvergenceStudy, check_order
from diffnum.convergence.study import convergence_study
from diffnum.foreign.conventions import Convention
from diffnum.jobs.checked import check_name
from diffnum.problems import examples, three_peaks
from diffnum.types import Problem, Schedule

__all__ = ["assert_convergence_order", "exact_problems"]


def exact_problems() -> dict[str, Problem]:
    """Data distributions with exact scores and exact probability-flow maps, by name.

    Returns
    -------
    dict of str to Problem
    """
    return examples()


def assert_convergence_order(
    sampler: Any,
    order: float,
    *,
    convention: Convention | None = None,
    grids: Sequence[str] = GRID_KINDS,
    problem: Problem | None = None,
    schedule: Schedule | None = None,
    **options: Any,
) -> ConvergenceStudy:
    """Fail unless a sampler converges with an order, on every kind of grid, as it is.

    Parameters
    ----------
    sampler : str, Method, callable, or scheduler of diffusers
        Catalogue name or record, or a sampler in any convention of :mod:`diffnum.foreign.conventions`.
    order : float
        Order claimed: the measured rate must lie within 0.1 of it, from both sides.
    convention : {"nodes", "k-diffusion", "diffusers", "flow"}, optional
        How the sampler is called, whatever its parameters are named; told from them by default, "nodes" where they do
        not tell.
    grids : sequence of {"uniform", "smooth", "irregular"}
        Kinds of grid.
    problem : Problem, optional
        Three peaks on the line by default.
    schedule : Schedule, optional
        Noising process; VP-linear by default, EDM for functions that suppose alpha = 1.
    **options
        Further arguments of :func:`diffnum.convergence.judgement.judge` (``interval``, ``clock``, ``shape``), and of
        the sampler in foreign conventions; ``silent=True`` turns its noise off.

    Returns
    -------
    ConvergenceStudy
        For further looks at it.

    Raises
    ------
    AssertionError
        With what to look at first (formula, start-up, last step, rounded times, low precision, numbers of steps, ...),
        the first weight that is off where the sampler is close to a method of the catalogue, and the table.
    TypeError, ValueError
        If the sampler breaks its convention (shape, dtype, NaN, randomness, a model that is ignored).

    Examples
    --------
    >>> def test_my_sampler(assert_convergence_order):  # the fixture comes with the package
    ...     assert_convergence_order(my_sampler, order=2)
    >>> def euler(model, x, sigmas):
    ...     for here, there in zip(sigmas, sigmas[1:]):
    ...         x = x + (there / here - 1) * (x - model(x, here))
    ...     return x
    >>> assert_convergence_order(euler, order=1, grids=("uniform",)).order
    1.0
    """
    __tracebackhide__ = True
    check_order(order, "order")
    exact = three_peaks() if problem is None else problem
    if convention is not None:
        check_name("convention", convention, get_args(Convention))
    if isinstance(sampler, str | Method):
        study = convergence_study(sampler, exact, schedule=schedule, grids=grids)
        study.assert_order(order)
        return study
    found = judge(sampler, order, exact, schedule=schedule, grids=grids, convention=convention, **options)
    if not found.ok:
        word = "REJECTED" if found.verdict == "fails" else "UNDECIDED"
        msg = f"{found}\norder {order:g} {word}\n{found.study}"
        raise AssertionError(msg)
    return found.study
