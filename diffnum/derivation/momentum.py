r"""Momentum methods derived from generating functions in the backward difference.

On constant steps the Adams-Bashforth method is the series :math:`\int_0^1 (1-\nabla)^{-s} ds = 1 + \nabla/2 + 5\nabla^2/12 + \dots`
applied to evaluations f. The average :math:`v_{n+1} = (1-\beta)v_n + \beta f_n` gives :math:`\beta f = (\beta + (1-\beta)\nabla) v`, so
the same slope expressed in averages is the product of the two, truncated.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import comb
from typing import Any

from diffnum.derivation.adams import Derived, Line, combination
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors

__all__ = ["adams_differences", "ghvb", "ghvb_weights"]


def adams_differences(count: int) -> tuple[Fraction, ...]:
    r"""Coefficients :math:`\gamma_j = \int_0^1 \binom{s+j-1}{j} ds` of Adams-Bashforth: 1, 1/2, 5/12, 3/8, 251/720, ..."""
    result = []
    polynomial = [Fraction(1)]  # binom(s + j - 1, j), lowest power first
    for j in range(count):
        if j:
            raised, scaled = [Fraction(0), *polynomial], [(j - 1) * c for c in polynomial] + [Fraction(0)]
            polynomial = [(a + b) / j for a, b in zip(raised, scaled, strict=True)]
        result.append(sum((c / (i + 1) for i, c in enumerate(polynomial)), Fraction(0)))
    return tuple(result)


def _from_differences(coefficients: Sequence[Any]) -> tuple[Any, ...]:
    """Weights of values, newest first, from those of backward differences."""
    return tuple(
        sum((c * (comb(i, j) * (-1) ** j) for i, c in enumerate(coefficients) if i >= j), Fraction(0))
        for j in range(len(coefficients))
    )


def ghvb_weights(order: int, beta: Any) -> tuple[Any, ...]:
    """Weights c_j of the averages, newest first, of any order; they sum to ``beta``."""
    gamma = adams_differences(order)
    product = [beta * g for g in gamma]
    for j in range(1, order):
        product[j] = product[j] + (1 - beta) * gamma[j - 1]
    return _from_differences(product)


def ghvb(window: Window, order: int, rate: int | None = 0, beta: Any = 1) -> Derived:  # noqa: ARG001
    """GHVB of any order; averages of a smooth history stand in where plain evaluations are known."""
    x, k1 = vectors("x k1")
    kept = range(1, window.depth + 1)
    old = [vector(f"v{j}") for j in kept if f"v{j}" in window.known]
    if not old:
        plain = [f"m{j}" for j in range(1, 2 * window.depth + 1) if f"m{j}" in window.known]
        # v = (1 + (1 - beta)/beta nabla)^(-1) f, the geometric series
        old = [_geometric((beta - 1) / beta, plain[j : j + window.depth + 1]) for j in range(min(window.depth, len(plain)))]
    newest = beta * k1 + (1 - beta) * old[0] if old else k1
    averages = [newest, *old]
    weights = ghvb_weights(order, beta)
    slope = Vector({})
    for c, v in zip(weights, averages, strict=False):
        slope = slope + (c / beta) * v
    memory = {f"v{j}": v for j, v in enumerate(averages[: max(window.depth, 1)], start=1)}
    argument = (
        Line("Adams-Bashforth in backward differences.", r"\int_0^1 (1-\nabla)^{-s}\,ds = 1 + \tfrac12\nabla + \tfrac5{12}\nabla^2 + \dots"),
        Line("The average in the same language.", r"v_{n+1} = (1-\beta)v_n + \beta f_n \iff \beta f_n = (\beta + (1-\beta)\nabla)\, v_{n+1}"),
        Line(
            f"Their product, truncated after {order} terms, gives the slope in averages.",
            r"\beta\,\bar f = (\beta + (1-\beta)\nabla)(1 + \tfrac12\nabla + \tfrac5{12}\nabla^2 + \dots)\, v_{n+1}",
        ),
        Line("Differences are those of constant steps: on other grids the second-order condition fails."),
    )
    limits = ("moments are those of constant steps: order 2 on smooth grids, 1 on irregular ones",) if order > 1 else ()
    return Derived(Step((Stage(0, x),), x + window.moment(0) * slope, memory), argument, limits)


def _geometric(ratio: Any, names: Sequence[str]) -> Vector:
    """Geometric series in the backward difference, truncated by the evaluations at hand."""
    powers: list[Any] = [Fraction(1)]
    for _ in names[1:]:
        powers.append(powers[-1] * ratio)
    return combination(_from_differences(powers), names)
