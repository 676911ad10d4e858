"""Exponential Runge-Kutta methods derived from their order conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import EXACT_STEP, adams, combination, moment_weights, moments_line
from diffnum.derivation.algebra.symbols import solve
from diffnum.derivation.records import Derived, Line
from diffnum.tableau import Stage, Step, Window, vectors

__all__ = ["DERIVATION", "dpm_solver", "explicit_step", "heun"]

HALF, TWO_THIRDS = Fraction(1, 2), Fraction(2, 3)


def heun(window: Window, order: int, rate: int | None = 0) -> Derived:
    """Heun's method from the conditions of order 2 on the nodes 0 and 1, in a clock with the plain kernel."""
    if order == 1:
        return adams(window, 1, rate)
    x, k1 = vectors("x k1")
    h, nodes = window.moment(0), (Fraction(0), Fraction(1))
    weights = [h * b for b in solve([[Fraction(1)] * 2, nodes], [Fraction(1), HALF])]
    stage = x + h * nodes[1] * k1
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(
            "Two stages at the ends of the step; a stage is consistent when its row sum is its node.",
            "a_{21} = c_2 = 1",
        ),
        Line(
            "The conditions of order 2, one for each tree with at most two nodes.",
            r"b_1 + b_2 = 1, \qquad b_2 c_2 = \tfrac12",
        ),
    )
    return Derived(Step((Stage(0, x), Stage(1, stage)), x + combination(weights, ("k1", "k2"))), argument)


def explicit_step(window: Window, nodes: Sequence[Any], rows: Sequence[Sequence[Any]], weights: Sequence[Any]) -> Step:
    """Explicit step with the stages ``nodes``, their weights ``rows`` and the weights of the step."""
    x, k1 = vectors("x k1")
    names = [f"k{i}" for i in range(1, len(weights) + 1)]
    stages = tuple(
        Stage(int(c) if isinstance(c, Fraction) and c.denominator == 1 else c, x + combination(row, names[: len(row)]))
        for c, row in zip(nodes, rows, strict=True)
    )
    return Step(stages, x + combination(weights, names), window.remember(k1))


def dpm_solver(
    window: Window,
    order: int,
    rate: int | None = 1,
    variant: str = "dpmsolver",
    nodes: tuple[Fraction, ...] = (),
) -> Derived:
    """DPM-Solver-1, -2, -3 from the authors' ansatz on given inner nodes, by default 1/2 and 1/3, 2/3."""
    if variant not in ("dpmsolver", "taylor"):
        msg = f"variant={variant!r} is unknown: use dpmsolver or taylor"
        raise ValueError(msg)
    if order == 1:
        return adams(window, 1, rate)
    inner = nodes if len(nodes) == order - 1 else tuple(Fraction(j, order) for j in range(1, order))
    return (_two_stages if order == 2 else _three_stages)(window, rate, variant, *inner)


def _two_stages(window: Window, rate: int | None, variant: str, node: Fraction) -> Derived:
    total = window.moment(0)
    exact = variant == "taylor"
    weights = moment_weights((Fraction(0), node), [total, window.moment(1) if exact else total / 2])
    slope = Line(
        "The slope is integrated exactly: the stiff condition of order 2."
        if exact
        else "The slope gets half the weight of the value, I_0/2 for I_1.",
        r"b_1 + b_2 = I_0, \qquad b_2 c = " + ("I_1" if exact else r"\tfrac12 I_0"),
    )
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(f"The inner stage at c = {node} is a first-order step.", r"a_{21} = I_0(c)"),
        slope,
    )
    step = explicit_step(window, (Fraction(0), node), ((), (window.moment(0, node),)), weights)
    return Derived(step, argument, () if exact else ("sum b_i c_i = I_1 is met up to O(h^2)",))


def _three_stages(window: Window, rate: int | None, variant: str, first: Fraction, second: Fraction) -> Derived:
    zero = Fraction(0)
    inner = moment_weights((zero, first), [window.moment(k, second) for k in (0, 1)])
    if variant == "taylor":
        weights = moment_weights((zero, first, second), [window.moment(k) for k in (0, 1, 2)])
        outer = Line(
            "The step integrates the parabola through all three.", r"\sum_i b_i c_i^k = I_k, \qquad k = 0, 1, 2"
        )
    else:
        early, late = moment_weights((zero, second), [window.moment(k) for k in (0, 1)])
        weights = (early, zero, late)
        outer = Line(
            "The step integrates the line through the first and the third.",
            r"b_1 + b_3 = I_0, \qquad b_3 c_3 = I_1, \qquad b_2 = 0",
        )
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("The first inner stage is a first-order step.", rf"a_{{21}} = I_0(c_2), \qquad c_2 = {first}"),
        Line(
            "The second inner stage integrates the line through the first two evaluations.",
            r"a_{31} + a_{32} = I_0(c_3), \qquad a_{32} c_2 = I_1(c_3)",
        ),
        outer,
        Line(
            "As the first inner stage is of order 1 only, its weight must vanish as h -> 0, and then the second moment "
            "determines the node.",
            r"b_3 c_3^2 = c_3 I_1 \to \tfrac{h}{3} \quad\Longrightarrow\quad c_3 = \tfrac23",
        ),
    )
    missed = [] if variant == "taylor" else ["sum b_i c_i^2 = I_2 is met up to O(h^2)"]
    if second != TWO_THIRDS:
        missed = [f"with c_3 = {second} a condition of order 3 is missed at every h: order 2"]
    step = explicit_step(window, (zero, first, second), ((), (window.moment(0, first),), inner), weights)
    return Derived(step, argument, tuple(missed))


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "dpm_solver": dpm_solver,
        "heun": heun,
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
