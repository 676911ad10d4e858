"""Assert the order of a sampler, and say what is likely wrong where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.convergence.checks import check_sampler
from diffnum.convergence.conventions import Convention, convention_of
from diffnum.convergence.diagnosis import diagnose
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.study import INTERVAL, ConvergenceStudy, convergence_study
from diffnum.problems import examples, three_peaks
from diffnum.schedules import VPLinear
from diffnum.types import Problem

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
    **options: Any,
) -> ConvergenceStudy:
    """Fail unless a sampler converges with an order, on every kind of grid, as it is.

    Parameters
    ----------
    sampler : str, Method, callable, or scheduler of diffusers
        Catalogue name or record, or anything that :func:`diffnum.audits.adapt` understands.
    order : float
        Order claimed: the measured rate must lie within 0.1 of it, from both sides.
    convention : {"nodes", "k-diffusion", "diffusers", "flow"}, optional
        How the sampler is called; guessed from its parameters by default, "nodes" where they do not tell.
    grids : sequence of {"uniform", "smooth", "irregular"}
        Kinds of grid.
    problem : Problem, optional
        Three peaks on the line by default.
    **options
        Further keyword arguments of the sampler, for foreign conventions.

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
    """
    exact = three_peaks() if problem is None else problem
    if isinstance(sampler, str | Method):
        study = convergence_study(sampler, exact, grids=grids)
        study.assert_order(order)
        return study
    found = _convention(sampler) if convention is None else convention
    if found == "nodes":
        run = sampler
    else:
        from diffnum.audits.adapters import adapt  # torch is loaded for foreign samplers only

        run = adapt(sampler, found, **options)
    check_sampler(run, Oracle(exact, VPLinear(), INTERVAL, 4, 0))
    study = convergence_study(run, exact, grids=grids, variants=("as shipped", "formula"))
    try:
        study.assert_order(order)
    except AssertionError as error:
        raise AssertionError(f"{diagnose(run, order, exact)}\n{error}") from None
    return study


def _convention(sampler: Any) -> Convention:
    try:
        return convention_of(sampler)
    except ValueError:
        return "nodes"
