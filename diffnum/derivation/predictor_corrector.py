"""UniPC derived: explicit and implicit Adams methods composed in PEC mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import factorial
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import EXACT_STEP, combination, moment_weights, moments_line, multistep
from diffnum.derivation.algebra.symbols import solve
from diffnum.derivation.records import Derived, Line
from diffnum.tableau import Stage, Step, Window, vector

__all__ = ["DERIVATION", "pair", "unip", "unipc", "unipc_vary"]


def _b_function(window: Window, variant: str) -> Any:
    """Return the authors' B(h), scaled like a weight: h (bh1) or the zeroth moment (bh2)."""
    if variant not in ("bh1", "bh2"):
        msg = f"variant={variant!r} is unknown: use bh1 or bh2"
        raise ValueError(msg)
    return window.step if variant == "bh1" else window.moment(0)


def _conditions(window: Window, nodes: Sequence[Any], variant: str) -> tuple[Any, ...]:
    """Weights on the nodes; where one ratio is left, the authors put B/2 for the first moment."""
    moments = [window.moment(k) for k in range(len(nodes))]
    if len(nodes) == 2:
        moments[1] = _b_function(window, variant) / 2
    return moment_weights(nodes, moments)


def pair(window: Window, predictor: Sequence[Any], corrector: Sequence[Any], mode: str, *, correct_last: bool) -> Step:
    """Predictor and corrector in one step, PEC or PECE; the weight of the new evaluation comes last."""
    x = vector("x")
    start = (Stage(0, x),) if mode == "pece" or "m0" not in window.known else ()
    newest = "k1" if start else "m0"
    names = [newest, *(f"m{j}" for j in range(1, len(predictor)))]
    predicted = x + combination(predictor, names)
    older = [newest, *(f"m{j}" for j in range(1, window.depth) if f"m{j}" in window.known)]
    memory = {f"m{j}": vector(name) for j, name in enumerate(older[: window.depth], start=1)}
    if window.last and not correct_last:
        return Step(start, predicted, memory if mode == "pece" else {})
    new = f"k{len(start) + 1}"
    corrected = x + combination(corrector, [*names[: len(corrector) - 1], new])
    if mode == "pec":
        memory = {"m0": vector(new), **memory}
    return Step((*start, Stage(1, predicted)), corrected, memory)


_PECE = Line(
    "The model is evaluated again at the corrected point, which is what the history keeps (PECE): 2 NFE per step."
)
_PEC = Line(
    "The evaluation at the predicted point is kept and not repeated (PEC). "
    "Its error O(h^{p+1}) enters the next steps times h, "
    "hence at the size O(h^{p+2}) of the corrector's own local error."
)


def _pair_argument(order: int, rate: int | None) -> tuple[Line, ...]:
    return (
        EXACT_STEP,
        moments_line(rate),
        Line(
            f"Predictor: the moments up to {order - 1} on the {order} known nodes.",
            rf"\sum_j w_j u_j^k = I_k, \qquad k = 0, \dots, {order - 1}",
        ),
        Line(
            f"Corrector: the new node u = 1 joins, and one more moment is met: order {order + 1}.",
            rf"\sum_j w_j u_j^k + w_{{\mathrm{{new}}}} = I_k, \qquad k = 0, \dots, {order}",
        ),
    )


def _shortcut(variant: str) -> Line:
    return Line(
        f"Where one ratio is left the authors replace the first moment by B(h)/2 ({variant}).",
        r"w_1 u_1 = \tfrac12 B(h), \qquad \tfrac12 B(h) - I_1 = O(h^2)",
    )


_HALF = ("the first moment is B(h)/2 up to O(h^2) where one ratio is left",)


def unipc(
    window: Window,
    order: int,
    rate: int | None = -1,
    variant: str = "bh2",
    mode: str = "pec",
    correct_last: bool = False,
) -> Derived:
    """UniPC of any order: predict with p nodes, evaluate, correct with the new node added."""
    nodes = (Fraction(0), *window.past[: order - 1])
    predictor, corrector = (_conditions(window, u, variant) for u in (nodes, (*nodes, Fraction(1))))
    argument = (
        *_pair_argument(order, rate),
        *([_shortcut(variant)] if order <= 2 else []),
        _PEC if mode == "pec" else _PECE,
    )
    step = pair(window, predictor, corrector, mode, correct_last=correct_last)
    return Derived(step, argument, _HALF if order <= 2 else ())


def unip(window: Window, order: int, rate: int | None = -1, variant: str = "bh2") -> Derived:
    """UniP alone: the moments on the known nodes, the shortcut where one ratio is left."""
    nodes = (Fraction(0), *window.past[: order - 1])
    argument = (*_pair_argument(order, rate)[:3], *([_shortcut(variant)] if order == 2 else []))
    return Derived(multistep(window, _conditions(window, nodes, variant)), argument, _HALF if order == 2 else ())


def unipc_vary(window: Window, order: int, rate: int | None = -1, fixed: bool = False) -> Derived:
    r"""UniPC in the variant vary_coeff: derivatives are estimated first, then integrated.

    The differences :math:`D_j = (F_j - F_0)/r_j = \sum_k r_j^k G_{k+1}/(k+1)!` are solved for the derivatives
    :math:`G_k = h^k F^{(k)}`; the moments of the kernel integrate them, :math:`\sum_k I_k G_k/k!`. As shipped the last
    derivative is lost for the old differences, and the new difference enters the last integral with its part in the
    last derivative but one.
    """
    nodes = (Fraction(0), *window.past[: order - 1])
    predictor = moment_weights(nodes, [window.moment(k) for k in range(order)])
    ratios = [*nodes[1:], Fraction(1)]
    integrals = [window.moment(k) / factorial(k) for k in range(1, order + 1)]
    inverse = _inverse([[r**k / factorial(k + 1) for k in range(order)] for r in ratios])
    if fixed or order == 1:
        differences = [sum((i * row[j] for i, row in zip(integrals, inverse, strict=True)), 0) for j in range(order)]
    else:
        kept = list(zip(integrals, inverse, strict=True))[:-1]
        differences = [sum((i * row[j] for i, row in kept), 0) for j in range(order - 1)]
        differences.append(integrals[-1] * inverse[-2][-1])
    old_and_new = [difference / r for difference, r in zip(differences, ratios, strict=True)]
    corrector = [window.moment(0) - sum(old_and_new, 0), *old_and_new]
    slip = Line(
        "As shipped, the loop over derivatives leaves its index behind at the last but one: the last integral "
        "multiplies the new difference's part in the wrong derivative, and all others of its parts are missing.",
        rf"I_{{{order}}} W_{{{order - 2},{order}}} D_{{{order}}} \quad\text{{for}}\quad "
        rf"\sum_k I_{{k+1}} W_{{k,{order}}} D_{{{order}}}",
    )
    shipped = not fixed and order > 1
    argument = (*_pair_argument(order, rate), *([slip] if shipped else []), _PEC)
    lost = ("the corrector meets the zeroth moment only: order 1",) if shipped else ()
    return Derived(pair(window, predictor, corrector, "pec", correct_last=False), argument, lost)


def _inverse(matrix: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Inverse of a matrix, column by column."""
    n = len(matrix)
    columns = [solve(matrix, [Fraction(int(i == j)) for i in range(n)]) for j in range(n)]
    return [[column[i] for column in columns] for i in range(n)]


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "unip": unip,
        "unipc": unipc,
        "unipc_pece": unipc,
        "unipc_vary": unipc_vary,
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
