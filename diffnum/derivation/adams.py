r"""Adams methods derived: exact moments of the kernel against polynomials through the nodes.

The weights are found as the solution of the moment equations :math:`\sum_j w_j u_j^k = I_k`, k = 0, ..., q - 1, by
exact elimination; the shipped functions use Lagrange bases instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import reduce
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.symbols import solve
from diffnum.derivation.records import Derived, Line
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors

__all__ = [
    "DERIVATION",
    "adams",
    "combination",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_3m_corrected",
    "moment_weights",
    "multistep",
]


EXACT_STEP = Line(
    "One step of the form, exactly: the kernel times the prediction M along the solution, s the fraction of the step.",
    r"\frac{x(\chi_{n+1})}{\mathrm{scale}_{n+1}} = \frac{x(\chi_n)}{\mathrm{scale}_n}"
    r" + \frac{\mathrm{gain}_{n+1}}{\mathrm{scale}_{n+1}} \int_0^1 K(s)\, M(s)\, ds",
)

_KERNELS = {
    -1: (r"K(s) = h\,e^{-h(1-s)}", r"I_0 = 1 - e^{-h}, \qquad I_k = 1 - \tfrac{k}{h} I_{k-1}"),
    1: (r"K(s) = h\,e^{h(1-s)}", r"I_0 = e^{h} - 1, \qquad I_k = \tfrac{k}{h} I_{k-1} - 1"),
    0: (r"K(s) = h", r"I_k = \tfrac{h}{k+1}"),
    None: (r"K(s)\,ds = d(\sigma/\alpha)", r"I_k = \int s^k\, d(\sigma/\alpha)"),
}


def moments_line(rate: int | None) -> Line:
    """Line on the kernel of a form and its moments."""
    kernel, moments = _KERNELS[rate]
    return Line("The kernel of this form, and its moments I_k (by parts).", rf"{kernel}, \qquad {moments}")


def moment_weights(nodes: Sequence[Any], moments: Sequence[Any]) -> tuple[Any, ...]:
    r"""Weights with :math:`\sum_j w_j u_j^k = I_k` for every given moment, by exact elimination.

    Parameters
    ----------
    nodes : sequence of q
        Distinct nodes.
    moments : sequence of q
        Right-hand sides.
    """
    rows: list[list[Any]] = [[Fraction(1) for _ in nodes]]
    for _ in moments[1:]:
        rows.append([power * node for power, node in zip(rows[-1], nodes, strict=True)])
    return solve(rows, moments)


def combination(weights: Sequence[Any], names: Sequence[str]) -> Vector:
    """Named vectors with weights."""
    return reduce(Vector.__add__, (w * vector(name) for w, name in zip(weights, names, strict=True)), Vector({}))


def multistep(window: Window, weights: Sequence[Any]) -> Step:
    """Explicit step with the newest evaluation and past ones."""
    x, k1 = vectors("x k1")
    names = ["k1", *(f"m{j}" for j in range(1, len(weights)))]
    return Step((Stage(0, x),), x + combination(weights, names), window.remember(k1))


def _nodes(window: Window, order: int) -> tuple[Any, ...]:
    return (Fraction(0), *window.past[: order - 1])


def adams(window: Window, order: int, rate: int | None = -1) -> Derived:
    """Exponential Adams-Bashforth method of any order, in any form."""
    moments = [window.moment(k) for k in range(order)]
    weights = moment_weights(_nodes(window, order), moments)
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(
            f"M is replaced by the polynomial through its values at u_0 = 0 and {order - 1} past nodes. "
            "The weights are exact for all such polynomials if and only if they reproduce the moments.",
            rf"\sum_{{j=0}}^{{{order - 1}}} w_j u_j^k = I_k, \qquad k = 0, \dots, {order - 1}",
        ),
        Line(
            f"The Vandermonde system has one solution; the interpolation error makes the local error O(h^{order + 1})."
        ),
    )
    return Derived(multistep(window, weights), argument)


def dpmpp_2m(window: Window, order: int, rate: int | None = -1) -> Derived:
    """DPM-Solver++(2M): the first moment is taken to be half of the zeroth."""
    if order == 1:
        return adams(window, 1, rate)
    total = window.moment(0)
    weights = moment_weights(_nodes(window, 2), [total, total / 2])
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(
            "The prediction is replaced by value and slope at the node n.",
            r"M(s) \approx M_n + s\,\frac{M_n - M_{n-1}}{-u_1}",
        ),
        Line(
            "The authors give the slope half the weight of the value.",
            r"w_0 + w_1 = I_0, \qquad w_1 u_1 = \tfrac12 I_0",
        ),
        Line(
            "The exact condition has I_1; the two differ by O(h^2), which costs no order.",
            r"\tfrac12 I_0 - I_1 = O(h^2)",
        ),
    )
    return Derived(multistep(window, weights), argument, ("sum w_j u_j = I_1 is met up to O(h^2)",))


def dpmpp_3m(window: Window, order: int, rate: int | None = -1, ramp: str = "midpoint") -> Derived:
    """DPM-Solver++(3M) as shipped: the divided difference stands for the second derivative."""
    if order < 3 and ramp == "taylor":
        return adams(window, order, rate)
    return _third_order(window, order, rate, Fraction(1, 2))


def dpmpp_3m_corrected(window: Window, order: int, rate: int | None = -1) -> Derived:
    """DPM-Solver++(3M) with the second derivative, twice the divided difference."""
    return _third_order(window, order, rate, Fraction(1))


def _third_order(window: Window, order: int, rate: int | None, factor: Fraction) -> Derived:
    if order < 3:
        return dpmpp_2m(window, order, rate)
    moments = [window.moment(0), window.moment(1), factor * window.moment(2)]
    weights = moment_weights(_nodes(window, 3), moments)
    half = "" if factor == 1 else r"\tfrac12 "
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(
            "The prediction is replaced by its Taylor polynomial, "
            "D1 the exact slope of the parabola through three values.",
            r"M(s) \approx M_n + s D_1 + \tfrac12 s^2 D_2",
        ),
        Line(
            "The divided difference [0, u_1, u_2] is half a second derivative: D_2 is twice it."
            if factor == 1
            else "The authors put the divided difference [0, u_1, u_2] itself for D_2, half of the second derivative.",
            rf"\sum_j w_j = I_0, \quad \sum_j w_j u_j = I_1, \quad \sum_j w_j u_j^2 = {half}I_2",
        ),
    )
    lost = () if factor == 1 else ("sum w_j u_j^2 is I_2/2 instead of I_2, at every h: order 3 is lost",)
    return Derived(multistep(window, weights), argument, lost)


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "adams": adams,
        "dpmpp_2m": dpmpp_2m,
        "dpmpp_3m": dpmpp_3m,
        "dpmpp_3m_corrected": dpmpp_3m_corrected,
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
