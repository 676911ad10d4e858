r"""Methods for few steps derived: moments for the weights, and what stands where a moment is missed.

CAB and STORK are three-point methods; their weights solve :math:`\sum w_j = h, \sum w_j u_j = h/2` and a second moment
that is theirs alone. PFDiff, RX-Euler and EPD come from the conditions of order 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import EXACT_STEP, adams, moment_weights, moments_line, multistep
from diffnum.derivation.algebra.symbols import solve
from diffnum.derivation.records import Derived, Line
from diffnum.derivation.runge_kutta import explicit_step
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors

__all__ = ["DERIVATION", "cab", "epd", "pfdiff", "rx_euler", "stork"]

_ZERO, _HALF = Fraction(0), Fraction(1, 2)


def cab(window: Window, order: int, rate: int | None = 0, theta: Any = _ZERO, base: int = 2) -> Derived:
    """Three evaluations with a second moment that theta shifts."""
    if order < 3:
        return adams(window, order, rate)
    h, (u1, u2) = window.moment(0), window.past[:2]
    # the defect of s^2 is -(1 + r) u_1^2 + r u_2^2 with r = -u_1/(u_1 - u_2), which is u_1 u_2
    plain = _HALF * u1 if base == 2 else Fraction(1, 3)  # what Adams-Bashforth makes of s^2, in steps
    weights = moment_weights((_ZERO, u1, u2), [h, _HALF * h, h * (plain + theta * u1 * u2)])
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(
            "The defect of the newest evaluation vanishes on lines: two moments are those of Adams-Bashforth.",
            r"\sum_j w_j = h, \qquad \sum_j w_j u_j = \tfrac h2",
        ),
        Line(
            "It is a second difference, which changes the second moment alone; a constant theta cannot meet it.",
            r"\sum_j w_j u_j^2 = h\,(m_2 + \theta\,\delta[s^2]), \qquad m_2 = \tfrac{u_1}{2} \text{ or } \tfrac13",
        ),
    )
    return Derived(multistep(window, weights), argument, ("the second moment is missed by O(1): order 2",))


def stork(window: Window, order: int, rate: int | None = 0, stages: int = 50, times: str = "legendre") -> Derived:
    """A parabola in time whose integral is a quadrature of virtual stages."""
    if order < 3:
        return adams(window, order, rate)
    h, (u1, u2) = window.moment(0), window.past[:2]
    first, second = quadrature_moments(stages, times)
    # the slope of the code on 1, s, s^2, and the second derivative
    slope = [_ZERO, (4 * u1 - u2) / (2 * u1), (4 * u1 * u1 - u2 * u2) / (2 * u1)]
    bend = [_ZERO, _ZERO, Fraction(2)]
    moments = [h * (int(k == 0) + first * slope[k] + _HALF * second * bend[k]) for k in range(3)]
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("Each virtual stage evaluates the parabola v + s v' + s^2 v''/2 at its time; no stage sees the state."),
        Line(
            "So the recursion of the stages is a quadrature, with weights b and nodes c.",
            rf"\sum_j b_j = 1, \qquad \sum_j b_j c_j = {_shown(first)}, \qquad \sum_j b_j c_j^2 = {_shown(second)}",
        ),
        Line("The slope is the one of constant steps, the second derivative the exact one of the parabola."),
    )
    lost = ["the slope is that of constant steps: order 1 on irregular grids"]
    if first != _HALF:
        lost.append("sum b_j c_j is not 1/2 at the times of another family: order 1")
    return Derived(multistep(window, moment_weights((_ZERO, u1, u2), moments)), argument, tuple(lost))


def _shown(number: Fraction) -> str:
    """A fraction, in digits where it is long."""
    short = number.denominator < 1000
    return rf"\tfrac{{{number.numerator}}}{{{number.denominator}}}" if short else f"{float(number):.6f}"


@cache
def quadrature_moments(stages: int, times: str) -> tuple[Fraction, Fraction]:
    """First and second moment of the quadrature, from the weights of all stages, one by one.

    The times of the right family are what the recursion itself makes of a constant right-hand side.
    """
    gegenbauer = [Fraction(1), Fraction(1, 3)]
    gegenbauer += [Fraction(4 * (j - 1) * (j + 4), 3 * j * (j + 1) * (j + 2) * (j + 3)) for j in range(2, stages + 1)]
    width = Fraction(6, (stages + 4) * (stages - 1))
    rows: list[dict[int, Fraction]] = [{}, {0: width}]
    for j in range(2, stages + 1):
        mu = Fraction(2 * j + 1, j) * gegenbauer[j] / gegenbauer[j - 1]
        nu = -Fraction(j + 1, j) * gegenbauer[j] / gegenbauer[j - 2]
        row = {i: mu * w for i, w in rows[-1].items()}
        for i, w in rows[-2].items():
            row[i] = row.get(i, _ZERO) + nu * w
        row[j - 1] = row.get(j - 1, _ZERO) + mu * width
        row[0] = row.get(0, _ZERO) - mu * width * (1 - _HALF * j * (j + 1) * gegenbauer[j - 1])
        rows.append(row)
    legendre = [_ZERO, Fraction(4, 3 * (stages**2 + stages - 2))]
    legendre += [Fraction(j * j + j - 2, stages**2 + stages - 2) for j in range(2, stages + 1)]
    places = legendre if times == "legendre" else [sum(row.values(), _ZERO) for row in rows]
    first, second = (sum((w * places[i] ** p for i, w in rows[-1].items()), _ZERO) for p in (1, 2))
    return first, second


def pfdiff(window: Window, order: int, rate: int | None = 0) -> Derived:
    """One evaluation at an inner node: its weight is the step, its state costs an old slope."""
    if order == 1:
        return adams(window, 1, rate)
    x, k1 = vectors("x k1")
    (node,) = window.inner
    (weight,) = moment_weights((node,), [window.moment(0)])
    (reach,) = moment_weights((_ZERO,), [window.moment(0, node)])
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("One evaluation: it carries the whole step, and integrates lines if it is in the middle.", "b c = h/2"),
        Line("Its state is reached with the slope of the step before: an error O(h^2), which enters the step times h."),
    )
    return Derived(Step((Stage(node, x + reach * vector("m1")),), x + weight * k1, {"m1": k1}), argument)


def rx_euler(window: Window, order: int, rate: int | None = 0) -> Derived:
    """Two stages from the conditions of order 2 on the inner node."""
    if order == 1:
        return adams(window, 1, rate)
    (node,) = window.inner
    h = window.moment(0)
    weights = [h * b for b in solve([[Fraction(1)] * 2, [_ZERO, node]], [Fraction(1), _HALF])]
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("Euler in one step has the local error h^2 y''/2, in two steps u^2 + (1 - u)^2 times it."),
        Line(
            "The combination that cancels it has the weights of order 2.",
            r"b_1 + b_2 = 1, \qquad b_2 u = \tfrac12",
        ),
    )
    step = explicit_step(window, (_ZERO, node), ((), (window.moment(0, node),)), weights)
    return Derived(step, argument)


def epd(window: Window, order: int, rate: int | None = 1, points: int = 2) -> Derived:
    """The shortest weights on inner nodes at equal distances that meet both conditions of order 2."""
    if order == 1:
        return adams(window, 1, rate)
    nodes = [Fraction(j, points + 1) for j in range(1, points + 1)]
    if points == 1:
        shares = [Fraction(1)]
    else:  # b = p + q c with sum b = 1 and sum b c = 1/2
        sums = [sum((c**k for c in nodes), _ZERO) for k in range(3)]
        p, q = solve([sums[:2], sums[1:]], [Fraction(1), _HALF])
        shares = [p + q * c for c in nodes]
    total = window.moment(0)
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("Each inner state is a first-order step from the first; none sees another.", r"a_{j1} = I_0(c_j)"),
        Line(
            "The first evaluation has no part in the step; the others meet the conditions of order 2, as in "
            "DPM-Solver-2 with half the zeroth moment for the first.",
            r"\sum_j b_j = I_0, \qquad \sum_j b_j c_j = \tfrac12 I_0",
        ),
        Line("Of all weights that do, the shortest are linear in c, and the same at nodes that lie symmetrically."),
    )
    x, k1 = vectors("x k1")
    stages = (Stage(0, x), *(Stage(c, x + window.moment(0, c) * k1) for c in nodes))
    mean = Vector({f"k{j}": total * b for j, b in enumerate(shares, start=2)})
    step = Step(stages, x + mean, window.remember(k1))
    return Derived(step, argument, ("sum b_j c_j = I_1 is met up to O(h^2)",))


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {"cab": cab, "epd": epd, "pfdiff": pfdiff, "rx_euler": rx_euler, "stork": stork}
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
