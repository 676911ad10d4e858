r"""DPM-Solver-v3 derived: the exact step in a parametrisation fitted to the model, and polynomials for what remains.

With y = x/alpha and f = (sigma eps - l x)/alpha the equation is dy/dlam = -l y - f, and
f = e^{S - S_a}(g + beta) on the step from a. The step is then exact, with g in the integral; g is replaced by
the polynomial through its values, whose weights solve the moment equations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import moment_weights
from diffnum.derivation.records import Derived, Line
from diffnum.tableau import Stage, Step, Vector, Window, vector

__all__ = ["DERIVATION", "dpm_solver_v3", "moment_defects", "statistics_weights"]


def statistics_weights(moments: Sequence[Any], nodes: Sequence[Any], *, pseudo: bool) -> tuple[Any, ...]:
    """Weights of g at the nodes, the first of them 0: moment equations, or divided differences for derivatives.

    Newton's polynomial is the sum of divided differences times products; where the derivative of order k is replaced by
    k! times the difference, the product gives way to the power, and each moment meets its own difference.
    """
    if not pseudo:
        return moment_weights(nodes, moments[: len(nodes)])
    weights: list[Any] = [Fraction(0)] * len(nodes)
    for k in range(len(nodes)):
        for j in range(k + 1):
            gaps = prod((nodes[j] - nodes[i] for i in range(k + 1) if i != j), start=Fraction(1))
            weights[j] = weights[j] + moments[k] / gaps
    return tuple(weights)


def moment_defects(
    order: int,
    past: Sequence[Any],
    moments: Sequence[Any],
    *,
    pseudo: bool = False,
    corrector: bool = False,
    pseudo_corrector: bool = False,
) -> tuple[Any, ...]:
    """Integrals of u^k less what the weights of the step make of them, k = 0, ..., for all given moments.

    The step is linear in g, and g is smooth along the solution: it has order p if and only if the defects of the powers
    below p vanish, and that of p does not.
    """
    nodes, differences = (Fraction(0), *past[: order - 1]), pseudo
    if corrector and (count := order + pseudo_corrector) > 1:
        nodes, differences = (Fraction(0), Fraction(1), *past[: count - 2]), pseudo_corrector
    weights = statistics_weights(moments, nodes, pseudo=differences)
    return tuple(
        moment - sum((w * u**k if k else w for w, u in zip(weights, nodes, strict=True)), Fraction(0))
        for k, moment in enumerate(moments)
    )


def dpm_solver_v3(
    window: Window,
    order: int,
    rate: int | None = 1,  # noqa: ARG001 (the kernel is in the statistics)
    statistics: Any = None,
    *,
    pseudo: bool = False,
    corrector: bool = False,
    pseudo_corrector: bool = False,
) -> Derived:
    """DPM-Solver-v3 on the integrals of ``statistics``; the history holds f."""
    given = statistics.integrals(window.nodes, order + 1)
    end, start = window.nodes[:2]
    nodes = (Fraction(1), Fraction(0), *window.past)
    x = vector("x")

    def remainder(at: int, noise: Vector, state: Vector) -> Vector:
        level, slope = window.nodes[at], given.model_slope[at]
        value: Vector = noise * (level.sigma / level.alpha) - state * (slope / level.alpha)
        return value

    def exact_step(terms: Sequence[Vector], at: Sequence[int], *, differences: bool) -> Vector:
        """The exact step with g_i = d_i f_i - b_i interpolated through the nodes number ``at``."""
        weights = statistics_weights(given.moments, [nodes[i] for i in at], pseudo=differences)
        constant = given.drift
        for weight, i in zip(weights, at, strict=True):
            constant = constant - weight * given.shift[i]
        total = vector("one") * constant
        for weight, i, term in zip(weights, at, terms, strict=True):
            total = total + term * (weight * given.damping[i])
        # y_t = e^{-(L_t - L_a)} (y_a - total)
        y: Vector = (x / start.alpha - total) / given.growth
        return y * end.alpha

    def in_form(plain: Vector) -> Vector:
        """Weights of y = x/alpha for states, of the gain -sigma_t for all else."""
        ratio = end.alpha / start.alpha
        return Vector({name: w / ratio if name == "x" else -w / end.sigma for name, w in plain.items()})

    stages: tuple[Stage, ...] = ()
    newest = vector("f0")
    if "f0" not in window.known:
        stages, newest = (Stage(0, x),), remainder(1, vector("k1"), x)
    past = [newest, *(vector(f"f{j}") for j in range(1, order))]
    predicted = exact_step(past, range(1, order + 1), differences=pseudo)
    argument = _argument(order, pseudo=pseudo)
    if not corrector or window.last:
        memory = {} if corrector else window.remember(newest, "f")
        return Derived(Step(stages, in_form(predicted), memory), argument)
    stages = (*stages, Stage(1, in_form(predicted)))
    new = remainder(0, vector(f"k{len(stages)}"), predicted)
    count = order + pseudo_corrector
    corrected = predicted
    if count > 1:
        terms = [newest, new, *past[1 : count - 1]]
        corrected = exact_step(terms, [1, 0, *range(2, count)], differences=pseudo_corrector)
    older = [newest, *(vector(f"f{j}") for j in range(1, window.depth) if f"f{j}" in window.known)]
    memory = {"f0": new} | {f"f{j}": value for j, value in enumerate(older[: window.depth], start=1)}
    line = Line(
        "The evaluation at the predicted point gives a value of g at the new node, and the step is done again with it; "
        "f, not the evaluation, is handed on.",
        r"\sum_j w_j u_j^k + w_{\mathrm{new}} = J_k",
    )
    return Derived(Step(stages, in_form(corrected), memory), (*argument, line))


def _argument(order: int, *, pseudo: bool) -> tuple[Line, ...]:
    return (
        Line(
            "With any function l of the half-log-SNR the equation splits, L an antiderivative of l.",
            r"y = x/\alpha, \quad f = (\sigma\epsilon - l x)/\alpha, \qquad \frac{dy}{d\lambda} = -l y - f",
        ),
        Line(
            "With any functions s and b the remainder is written in g, S an antiderivative of s.",
            r"f = e^{S - S_a}(g + \beta), \qquad \beta = \int_a^\lambda b\, e^{-(S - S_a)}",
        ),
        Line(
            "The step is exact, with the integrals G, J_k and B of the statistics.",
            r"y_t = \frac1G \Big[ y_a - \int_a^t e^{(L+S)-(L+S)_a} (g + \beta)\, d\lambda \Big], \qquad"
            r" G = e^{L_t - L_a}, \quad J_k = \int_a^t e^{(L+S)-(L+S)_a} u^k d\lambda",
        ),
        Line(
            "The authors put k! times the divided difference for the derivative of order k, which it is at the first "
            "node up to O(h) only: order 2 at most."
            if pseudo
            else f"g is replaced by the polynomial through {order} of its values.",
            r"\sum_k J_k\, g[u_0, \dots, u_k]" if pseudo else r"\sum_j w_j u_j^k = J_k",
        ),
    )


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "dpm_solver_v3": dpm_solver_v3,
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
