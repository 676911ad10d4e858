"""Exponential Runge-Kutta methods derived from their order conditions."""

from __future__ import annotations

from fractions import Fraction

from diffnum.derivation.adams import EXACT_STEP, Derived, Line, adams, combination, moment_weights, moments_line
from diffnum.derivation.symbols import solve
from diffnum.tableau import Stage, Step, Window, vectors

__all__ = ["dpm_solver_3", "heun"]

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


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
        Line("Two stages at the ends of the step; a stage is consistent when its row sum is its node.", "a_{21} = c_2 = 1"),
        Line("The conditions of order 2, one for each tree with at most two nodes.", r"b_1 + b_2 = 1, \qquad b_2 c_2 = \tfrac12"),
    )
    return Derived(Step((Stage(0, x), Stage(1, stage)), x + combination(weights, ("k1", "k2"))), argument)


def dpm_solver_3(window: Window, order: int, rate: int | None = 1) -> Derived:
    """DPM-Solver-1, -2, -3 from the authors' ansatz on the nodes 0, 1/3, 2/3 (0, 1/2 at order 2)."""
    if order == 1:
        return adams(window, 1, rate)
    return _two_stages(window, rate) if order == 2 else _three_stages(window, rate)


def _two_stages(window: Window, rate: int | None) -> Derived:
    x, k1 = vectors("x k1")
    total = window.moment(0)
    weights = moment_weights((Fraction(0), HALF), [total, total / 2])
    stage = x + window.moment(0, HALF) * k1
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("The inner stage at c = 1/2 is a first-order step.", r"a_{21} = I_0(c)"),
        Line("The slope gets half the weight of the value, I_0/2 for I_1.", r"b_1 + b_2 = I_0, \qquad b_2 c = \tfrac12 I_0"),
    )
    step = Step((Stage(0, x), Stage(HALF, stage)), x + combination(weights, ("k1", "k2")), window.remember(k1))
    return Derived(step, argument, ("sum b_i c_i = I_1 is met up to O(h^2)",))


def _three_stages(window: Window, rate: int | None) -> Derived:
    x, k1 = vectors("x k1")
    first = THIRD
    # sum b c = 1/2 and sum b c^2 = 1/3 with b_2 = 0 determine the outer node
    second = THIRD / HALF
    stage_2 = x + window.moment(0, first) * k1
    inner = moment_weights((Fraction(0), first), [window.moment(k, second) for k in (0, 1)])
    outer = moment_weights((Fraction(0), second), [window.moment(k) for k in (0, 1)])
    stage_3 = x + combination(inner, ("k1", "k2"))
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("The first inner stage is a first-order step.", r"a_{21} = I_0(c_2), \qquad c_2 = \tfrac13"),
        Line(
            "The second inner stage integrates the line through the first two evaluations.",
            r"a_{31} + a_{32} = I_0(c_3), \qquad a_{32} c_2 = I_1(c_3)",
        ),
        Line("The step integrates the line through the first and the third.", r"b_1 + b_3 = I_0, \qquad b_3 c_3 = I_1, \qquad b_2 = 0"),
        Line(
            "That the second moment comes out right in the limit determines the node.",
            r"b_3 c_3^2 = c_3 I_1 \to \tfrac{h}{3} \quad\Longrightarrow\quad c_3 = \tfrac23",
        ),
    )
    stages = (Stage(0, x), Stage(first, stage_2), Stage(second, stage_3))
    step = Step(stages, x + combination((outer[0], Fraction(0), outer[1]), ("k1", "k2", "k3")), window.remember(k1))
    return Derived(step, argument, ("sum b_i c_i^2 = I_2 is met up to O(h^2)",))
