r"""Momentum methods derived from generating functions in the backward difference.

On constant steps the Adams-Bashforth method is the series
:math:`\int_0^1 (1-\nabla)^{-s} ds = 1 + \nabla/2 + 5\nabla^2/12 + \dots` applied to evaluations f. The average
:math:`v_{n+1} = (1-\beta)v_n + \beta f_n` gives :math:`\beta f = (\beta + (1-\beta)\nabla) v`, so the same slope
expressed in averages is the product of the two, truncated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import comb
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from diffnum.derivation.adams import EXACT_STEP, combination, dpmpp_2m, moment_weights
from diffnum.derivation.records import Derived, Line, OnBases
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors

__all__ = [
    "DERIVATION",
    "adams_differences",
    "ghvb",
    "ghvb_variable",
    "ghvb_weights",
    "heavy_ball",
    "mdpm2",
    "nesterov",
]


def adams_differences(count: int) -> tuple[Fraction, ...]:
    r"""Coefficients :math:`\gamma_j = \int_0^1 \binom{s+j-1}{j} ds`: 1, 1/2, 5/12, 3/8, 251/720, ..."""
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
        old = [
            _geometric((beta - 1) / beta, plain[j : j + window.depth + 1]) for j in range(min(window.depth, len(plain)))
        ]
    newest = beta * k1 + (1 - beta) * old[0] if old else k1
    averages = [newest, *old]
    weights = ghvb_weights(order, beta)
    slope = Vector({})
    for c, v in zip(weights, averages, strict=False):
        slope = slope + (c / beta) * v
    memory = {f"v{j}": v for j, v in enumerate(averages[: max(window.depth, 1)], start=1)}
    argument = (
        Line(
            "Adams-Bashforth in backward differences.",
            r"\int_0^1 (1-\nabla)^{-s}\,ds = 1 + \tfrac12\nabla + \tfrac5{12}\nabla^2 + \dots",
        ),
        Line(
            "The average in the same language.",
            r"v_{n+1} = (1-\beta)v_n + \beta f_n \iff \beta f_n = (\beta + (1-\beta)\nabla)\, v_{n+1}",
        ),
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


def ghvb_variable(window: Window, order: int, rate: int | None = 0, beta: Any = 1) -> Derived:  # noqa: ARG001
    r"""GHVB for steps of any length: the moments that a damped slope leaves over are met by the evaluations.

    The slope before is taken for the exact mean over [u_1, 0], whose moments are :math:`u_1^k/(k + 1)`; hence the
    evaluations must bring :math:`(1 - (1-\beta) u_1^k)/(k + 1)`.
    """
    x, v1 = vectors("x v1")
    h, nodes = window.moment(0), (Fraction(0), *window.past[: order - 1])
    moving = "v1" in window.known
    damping = 1 - beta if moving else Fraction(0)
    before = nodes[1] if order > 1 else Fraction(0)
    moments = [(1 - damping * before**k) / (k + 1) if k else 1 - damping for k in range(order)]
    weights = moment_weights(nodes, moments)
    slope = combination(weights, ["k1", *(f"m{j}" for j in range(1, order))])
    if moving:
        slope = slope + damping * v1
    argument = (
        EXACT_STEP,
        Line(
            "With s = f_bar/beta the slope of GHVB, its definition on constant steps reads, f the evaluations,",
            r"s_n - (1-\beta)s_{n-1} = "
            r"(\beta + (1-\beta)\nabla)(1 + \tfrac12\nabla + \tfrac5{12}\nabla^2 + \dots)\,f_n,",
        ),
        Line(
            "that is, beta times the Adams-Bashforth slope plus (1 - beta) times what the same polynomial says of the "
            "change of the mean from the last step to this one. Both are means of a polynomial, on any grid:",
            r"s_n = \beta\,p_n + (1-\beta)(s_{n-1} + p_n - q_n), \quad p_n = \int_0^1 P\,ds, \quad"
            r" q_n = \frac{1}{-u_1}\int_{u_1}^0 P\,ds",
        ),
        Line(
            "The moment equations follow, since the slope before is the mean over [u_1, 0] up to its own error.",
            r"\sum_j w_j u_j^k = \frac{1 - (1-\beta)u_1^k}{k+1}, \qquad k = 0, \dots, " + str(order - 1),
        ),
        Line(
            "The error e of the slope is damped, not carried along, whatever the steps.",
            rf"e_n = (1-\beta)\,e_{{n-1}} + O(h^{order})",
        ),
    )
    memory = {**window.remember(vector("k1")), "v1": slope}
    return Derived(Step((Stage(0, x),), x + h * slope, memory), argument)


Bases: TypeAlias = Mapping[str, Callable[..., Derived]]
"""Derivations of the methods whose slope can be averaged, by family."""

_DELAY = "the average lags behind by (1 - beta)/beta steps: order 1 for beta < 1"


def _averaged(window: Window, method: Derived, beta: Any) -> tuple[Vector, Vector]:
    """Slope of a method, and the new average."""
    slope = (method.step.x - vector("x")) / window.moment(0)
    slope = Vector({name: weight for name, weight in slope.items() if name != "x"})
    average = beta * slope + (1 - beta) * vector("v1") if "v1" in window.known else slope
    return slope, average


def _stepped(window: Window, method: Derived, slope: Vector, average: Vector, *lines: Line) -> Derived:
    step = method.step
    memory = {**step.memory, "v1": average}
    derived = Step(step.stages, vector("x") + window.moment(0) * slope, memory)
    return Derived(derived, (*method.argument, *lines), (*method.asymptotic, _DELAY))


_AVERAGE = Line(
    "The slope p of the step is replaced by its moving average, which starts as the first slope.",
    r"v_{n+1} = (1-\beta)v_n + \beta p_n",
)


def heavy_ball(
    window: Window,
    order: int,
    rate: int | None = 0,
    beta: Any = 1,
    base: str = "plms",
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    bases: Bases,
) -> Derived:
    """HB: a method steps with the moving average of its slope."""
    method = bases[base](window, order, rate, **settings)
    _, average = _averaged(window, method, beta)
    return _stepped(window, method, average, average, _AVERAGE)


def nesterov(
    window: Window,
    order: int,
    rate: int | None = 0,
    beta: Any = 1,
    base: str = "plms",
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    bases: Bases,
) -> Derived:
    """NT: the average is averaged with the slope once more."""
    method = bases[base](window, order, rate, **settings)
    slope, average = _averaged(window, method, beta)
    used = beta * slope + (1 - beta) * average
    line = Line("The step is made with the average of the new average and the slope.", r"(1-\beta)v_{n+1} + \beta p_n")
    return _stepped(window, method, used, average, _AVERAGE, line)


def mdpm2(window: Window, order: int, rate: int | None = -1, beta: Any = 1, first: str = "evaluation") -> Derived:
    """DPM-Solver++(2M) with HB as shipped: the average rests in first-order steps."""
    if order > 1:
        method = dpmpp_2m(window, order, rate)
        _, average = _averaged(window, method, beta)
        return _stepped(window, method, average, average, _AVERAGE)
    method = dpmpp_2m(window, 1, rate)
    rest = {name: vector(name) for name in ("v1",) if name in window.known}
    start = rest or ({"v1": vector("k1")} if first == "evaluation" else {})
    return Derived(Step(method.step.stages, method.step.x, {**method.step.memory, **start}), method.argument)


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "ghvb": ghvb,
        "ghvb_variable": ghvb_variable,
        "heavy_ball": OnBases(heavy_ball),
        "mdpm2": mdpm2,
        "nesterov": OnBases(nesterov),
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
