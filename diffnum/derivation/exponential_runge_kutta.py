r"""Exponential Runge-Kutta methods derived from moment and stiff order conditions.

Stage i integrates polynomials up to degree q exactly when :math:`\sum_j a_{ij} c_j^k = I_k(c_i)` for k up to q. For the
weights on 0, 1/2, 1 three moments give the exponential Simpson rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import EXACT_STEP, moment_weights, moments_line
from diffnum.derivation.algebra.symbols import solve
from diffnum.derivation.records import Derived, Line
from diffnum.derivation.runge_kutta import dpm_solver, explicit_step
from diffnum.derivation.tableaux import overdetermined
from diffnum.tableau import Window

__all__ = ["DERIVATION", "exponential_runge_kutta", "res_3s"]

ZERO, HALF, ONE = Fraction(0), Fraction(1, 2), Fraction(1)

_SIMPSON = Line(
    "The weights are exact for parabolas through the nodes 0, 1/2, 1: the exponential Simpson rule.",
    r"\sum_i b_i c_i^k = I_k, \qquad k = 0, 1, 2",
)


def _simpson(window: Window) -> tuple[Any, Any, Any]:
    first, middle, last = moment_weights((ZERO, HALF, ONE), [window.moment(k) for k in (0, 1, 2)])
    return first, middle, last


def _etd_rk3(window: Window) -> tuple[Any, Any, Any, tuple[Line, ...]]:
    total = window.moment(0)
    rows = ((), (window.moment(0, HALF),), (-total, 2 * total))
    lines = (
        Line(
            "Stages as in Kutta's third-order rule, which continues the line through the first two.",
            r"a_{31} + a_{32} = I_0, \qquad a_{32} = 2 I_0",
        ),
        _SIMPSON,
    )
    return (ZERO, HALF, ONE), rows, _simpson(window), lines


def _etd_rk4(window: Window) -> tuple[Any, Any, Any, tuple[Line, ...]]:
    half, total = window.moment(0, HALF), window.moment(0)
    rows = ((), (half,), (ZERO, half), (total - 2 * half, ZERO, 2 * half))
    first, middle, last = _simpson(window)
    lines = (
        Line(
            "Two half steps with constant prediction; the second is continued from the first stage with 2 k_3 - k_1.",
            r"a_{43} = 2 I_0(\tfrac12), \qquad a_{41} + a_{43} = I_0",
        ),
        _SIMPSON,
        Line("The two stages at the middle share their weight.", "b_2 = b_3"),
    )
    return (ZERO, HALF, HALF, ONE), rows, (first, middle / 2, middle / 2, last), lines


def _krogstad_4(window: Window) -> tuple[Any, Any, Any, tuple[Line, ...]]:
    half = window.moment(0, HALF)
    slope = window.moment(1, HALF)
    # a_32 c_2 = 2 I_1(1/2): twice the slope, so that the defects of stages 2 and 3 cancel under b_2 = b_3
    third = solve([[ONE, ONE], [ZERO, HALF]], [half, 2 * slope])
    last_row = moment_weights((ZERO, HALF), [window.moment(k) for k in (0, 1)])
    rows = ((), (half,), tuple(third), (last_row[0], ZERO, last_row[1]))
    first, middle, last = _simpson(window)
    lines = (
        Line("The last stage integrates the line through the first and third evaluations.", r"a_{43} \tfrac12 = I_1"),
        _SIMPSON,
        Line("The two stages at the middle share their weight.", "b_2 = b_3"),
        Line(
            "Stage 2 misses the slope, by I_1(1/2); stage 3 overshoots by as much: the stiff condition of order 3.",
            r"\sum_i b_i\,\bigl(\textstyle\sum_j a_{ij} c_j - I_1(c_i)\bigr) = 0 \iff a_{32}\tfrac12 = 2 I_1(\tfrac12)",
        ),
    )
    return (ZERO, HALF, HALF, ONE), rows, (first, middle / 2, middle / 2, last), lines


def _hochbruck_ostermann_4(window: Window) -> tuple[Any, Any, Any, tuple[Line, ...]]:
    nodes = (ZERO, HALF, HALF, ONE, HALF)
    half = [window.moment(k, HALF) for k in (0, 1, 2)]
    full = [window.moment(k) for k in (0, 1, 2)]
    first, middle, last = _simpson(window)
    row_3 = solve([[ONE, ONE], [ZERO, HALF]], [half[0], 2 * half[1]])
    outer, shared = moment_weights((ZERO, HALF), full[:2])
    row_4 = (outer, shared / 2, shared / 2)
    # unknown a_51, a_52 = a_53, a_54: two moments, and the stiff condition of order 4 at h = 0, where b_4 : b_5 = 1 : 4
    defect_4 = shared / 4 - full[2]
    row_5 = solve(
        [[ONE, Fraction(2), ONE], [ZERO, ONE, ONE], [ZERO, HALF, ONE]],
        [half[0], half[1], half[2] - defect_4 / 4],
    )
    rows = ((), (half[0],), tuple(row_3), row_4, (row_5[0], row_5[1], row_5[1], row_5[2]))
    lines = (
        _SIMPSON,
        Line("Its middle value comes from the fifth stage; the first three only build stages.", "b_2 = b_3 = 0"),
        Line(
            "Stages 4 and 5 integrate slopes exactly; stage 3 makes up for stage 2, which cannot.",
            r"\sum_j a_{ij} c_j^k = I_k(c_i), \quad k = 0, 1, \quad i = 4, 5; \qquad a_{32} \tfrac12 = 2 I_1(\tfrac12)",
        ),
        Line(
            "The remaining condition of order 4, at h = 0, where b_4 : b_5 = 1 : 4, determines a_52 = a_53.",
            r"b_4 \bigl(\textstyle\sum_j a_{4j} c_j^2 - I_2(1)\bigr)"
            r" + b_5 \bigl(\sum_j a_{5j} c_j^2 - I_2(\tfrac12)\bigr) = 0",
        ),
    )
    return nodes, rows, (first, ZERO, ZERO, last, middle), lines


_METHODS: Final[Mapping[str, tuple[Callable[[Window], Any], int]]] = MappingProxyType(
    {
        "etd_rk3": (_etd_rk3, 3),
        "etd_rk4": (_etd_rk4, 4),
        "krogstad_4": (_krogstad_4, 4),
        "hochbruck_ostermann_4": (_hochbruck_ostermann_4, 4),
    }
)


def exponential_runge_kutta(window: Window, order: int, rate: int | None = -1, method: str = "etd_rk4") -> Derived:
    """Exponential Runge-Kutta method by name; DPM-Solver's where a lower order is asked for."""
    if method not in _METHODS:
        msg = f"method={method!r} is unknown: use one of {', '.join(_METHODS)}"
        raise ValueError(msg)
    derivation, full = _METHODS[method]
    if order < full:
        return dpm_solver(window, order, rate)
    nodes, rows, weights, lines = derivation(window)
    return Derived(explicit_step(window, nodes, rows, weights), (EXACT_STEP, moments_line(rate), *lines))


def res_3s(
    window: Window,
    order: int,
    rate: int | None = -1,
    nodes: tuple[Fraction, Fraction] = (HALF, ONE),
    *,
    as_shipped: bool = False,
) -> Derived:
    """RES of order 3: all stiff conditions but the last exactly, that one in the limit."""
    if order < 3:
        return dpm_solver(window, order, rate)
    c2, c3 = nodes
    slope = window.moment(1)
    # b_2 = gamma b_3: 2 (gamma c2 + c3) = 3 (gamma c2^2 + c3^2), from sum b c = I_1 -> 1/2 and sum b c^2 -> 1/3
    square = c3**3 if as_shipped else c3**2
    (gamma,) = overdetermined([[2 * c2 - 3 * c2**2]], [3 * square - 2 * c3])
    late = slope / (gamma * c2 + c3)
    early = gamma * late
    # the defect of stage 2, -I_1(c2), is made up for by stage 3: b_3 (a_32 c2 - I_1(c3)) = b_2 I_1(c2)
    a32 = (window.moment(1, c3) + gamma * window.moment(1, c2)) / c2
    rows = ((), (window.moment(0, c2),), (window.moment(0, c3) - a32, a32))
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("The slope is integrated exactly.", r"b_2 c_2 + b_3 c_3 = I_1, \qquad b_2 = \gamma b_3"),
        Line(
            "The curvature is integrated exactly in the limit, which determines gamma.",
            r"\gamma = \frac{3 c_3^2 - 2 c_3}{c_2 (2 - 3 c_2)}",
        ),
        Line(
            "Stage 2 misses the slope; stage 3 makes up for it at every h.",
            r"\gamma\,(0 - I_1(c_2)) + (a_{32} c_2 - I_1(c_3)) = 0",
        ),
    )
    missed = ("sum b_i c_i^2 = I_2 is met up to O(h^2)",)
    if as_shipped and c3 != 1:
        missed = ("gamma has c_3^3 for c_3^2, so that sum b_i c_i^2 = I_2 fails at every h: order 2",)
    weights = (window.moment(0) - early - late, early, late)
    return Derived(explicit_step(window, (ZERO, c2, c3), rows, weights), argument, missed)


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "exponential_runge_kutta": exponential_runge_kutta,
        "res_3s": res_3s,
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
