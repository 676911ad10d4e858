"""Assert the order of a sampler, and say what is likely wrong where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.convergence.record import ConvergenceStudy
from diffnum.convergence.study import convergence_study
from diffnum.foreign import understood
from diffnum.foreign.conventions import Convention
from diffnum.problems import examples, three_peaks
from diffnum.types import Problem, Schedule

__all__ = ["assert_convergence_order", "exact_problems"]


def exact_problems() -> dict[str, Problem]:
    """Data distributions with exact scores and exact probability-flow maps, by name."""
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
        How the sampler is called; told from its methods and parameters by default, "nodes" where they do not tell.
    grids : sequence of {"uniform", "smooth", "irregular"}
        Kinds of grid.
    problem : Problem, optional
        Three peaks on the line by default.
    schedule : Schedule, optional
        Noising process; VP-linear by default, EDM for functions that suppose alpha = 1.
    **options
        Further keyword arguments of the sampler, for foreign conventions; ``silent=True`` turns its noise off.

    Returns
    -------
    ConvergenceStudy
        For further looks at it.

    Raises
    ------
    AssertionError
        With the table, and with what is likely wrong: formula, start-up, last step, rounded times, low precision, and
        the first weight that is off where the sampler is close to a method of the catalogue.
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
    exact = three_peaks() if problem is None else problem
    if isinstance(sampler, str | Method):
        study = convergence_study(sampler, exact, schedule=schedule, grids=grids)
    else:
        run = understood(sampler, convention, **options)
        study = convergence_study(run, exact, schedule=schedule, grids=grids, variants=("as shipped", "formula"))
    study.assert_order(order)
    return study
