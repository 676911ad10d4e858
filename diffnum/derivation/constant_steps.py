r"""Classical multistep methods derived: moments on the nodes 0, -1, -2, ..., wherever the real nodes may be.

The shipped functions take the weights from backward differences; here they are the solution of the moment equations
on nodes of constant steps, :math:`\sum_j w_j (-j)^k = h/(k + 1)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import EXACT_STEP, moment_weights, moments_line, multistep
from diffnum.derivation.predictor_corrector import pair
from diffnum.derivation.records import Derived, Line
from diffnum.tableau import Window

__all__ = ["DERIVATION", "abm", "ipndm_v", "plms"]

_LIMIT = "moments are those of constant steps: order 2 on smooth grids, 1 on irregular ones"


def _constant(window: Window, nodes: Sequence[int]) -> tuple[Any, ...]:
    """Weights that integrate polynomials through the nodes of constant steps."""
    return moment_weights([Fraction(u) for u in nodes], [window.moment(k) for k in range(len(nodes))])


def plms(window: Window, order: int, rate: int | None = 0) -> Derived:
    """Adams-Bashforth for constant steps, used on any."""
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(
            f"M is replaced by the polynomial through {order} values, as if the nodes were those of constant steps.",
            rf"\sum_{{j=0}}^{{{order - 1}}} w_j (-j)^k = \frac{{h}}{{k + 1}}, \qquad k = 0, \dots, {order - 1}",
        ),
        Line("On other grids the second condition fails by the relative change of the steps."),
    )
    weights = _constant(window, range(0, -order, -1))
    return Derived(multistep(window, weights), argument, (_LIMIT,) if order > 1 else ())


def abm(window: Window, order: int, rate: int | None = 0, mode: str = "pece", variable: bool = False) -> Derived:
    """Adams-Bashforth predictor and Adams-Moulton corrector of the same order."""
    old = [Fraction(0), *(window.past[: order - 1] if variable else (Fraction(-j) for j in range(1, order)))]
    moments = [window.moment(k) for k in range(order)]
    predictor = moment_weights(old, moments)
    corrector = moment_weights([*old[: order - 1], Fraction(1)], moments)
    where = "the nodes" if variable else "nodes of constant steps"
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(f"Predictor: {order} moments on {where}, up to the current one."),
        Line(f"Corrector: the same moments on {where}, of which the new one replaces the oldest."),
        Line("Both have the same order: the corrector changes the error constant and the stability, not the order."),
    )
    step = pair(window, predictor, corrector, mode, correct_last=mode == "pece")
    return Derived(step, argument, () if variable or order == 1 else (_LIMIT,))


def ipndm_v(window: Window, order: int, rate: int | None = 0) -> Derived:
    r"""iPNDM_v: Newton's form of Adams-Bashforth, with three slips that are put in by name.

    The exact method adds :math:`T_k \delta_k`, with delta_k the difference of order k whose newest weight is 1, and
    :math:`T_k = \int_0^1 s (s - u_1) \cdots (s - u_{k-1})\,ds / ((-u_1) \cdots (-u_k))`.
    """
    total = window.moment(0)
    mean = [window.moment(k) / total for k in range(4)]
    weights = [Fraction(1)]
    if order > 1:
        u1 = window.past[0]
        weights = [1 - mean[1] / u1, mean[1] / u1]
    if order > 2:
        u2 = window.past[1]
        exact = mean[2] - u1 * mean[1]  # the mean of s (s - u_1)
        length = u1 * u2  # the exact T_2 is exact/length
        # the bracket: (1 - a) b/2 is meant, with a = 1 - 2 exact/(1 - u_1) and b = (1 - u_1)/length
        slipped = (1 - (1 - 2 * exact / (1 - u1)) * (1 - u1) / length) / 2
        newer = _difference([Fraction(0), u1, u2])
        weights = [a + slipped * b for a, b in zip((*weights, 0), newer, strict=True)]
    if order > 3:
        u3 = window.past[2]
        # by parts, the mean of s (s - u_1)(s - u_2) is exact (1 - u_2) minus this; the code adds it
        parts = mean[3] / 3 - u1 * mean[2] / 2
        twist = (exact * (1 - u2) + parts) / (length * (-u3))
        older = _difference([u1, u2, u3])
        ratio = _curvature(newer, [Fraction(0), u1, u2]) / _curvature(older, [u1, u2, u3])
        third = [*newer, Fraction(0)]  # newer - ratio * older vanishes on parabolas
        for j, value in enumerate(older, start=1):
            third[j] = third[j] - ratio * value
        third[3] = -ratio * newer[2]  # the ratio of the newer difference stands in the oldest weight
        weights = [a + twist * b for a, b in zip((*weights, 0), third, strict=True)]
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line(
            "Newton's form: mean values of products of node polynomials times differences with newest weight 1.",
            r"\frac1h \sum_j w_j M_{n-j} = M_n + T_1 \delta_1 M + T_2 \delta_2 M + T_3 \delta_3 M",
        ),
        *_SLIPS[: max(order - 2, 0)],
    )
    lost: tuple[str, ...] = ("a bracket of T_2 is misplaced: order 2 on irregular grids",) if order > 2 else ()
    lost += ("the weights do not sum to h on irregular grids",) if order > 3 else ()
    return Derived(multistep(window, [total * w for w in weights]), argument, lost)


_SLIPS = (
    Line(
        "T_2 is (1 - h/(3(h + h_1)))/2 times h(h + h_1)/(h_1(h_1 + h_2)); in the code the last factor has slid into "
        "the bracket.",
        r"T_2^{\mathrm{code}} = \tfrac12\Big(1 - \frac{h^2}{3 h_1 (h_1 + h_2)}\Big)",
    ),
    Line(
        "T_3 needs an integration by parts whose second term has the wrong sign in the code, and the oldest weight of "
        "the third difference has the ratio h_1/h_2 for h_2/h_3.",
        r"\int_0^1 s(s-u_1)(s-u_2)\,ds = (1-u_2)\int_0^1 s(s-u_1)\,ds - \int_0^1\!\!\int_0^s r(r-u_1)\,dr\,ds",
    ),
)


def _difference(nodes: Sequence[Any]) -> list[Any]:
    """Second difference on three nodes: zero on constants and slopes, newest weight 1."""
    weights = moment_weights(nodes, [Fraction(0), Fraction(0), Fraction(1)])
    return [w / weights[0] for w in weights]


def _curvature(weights: Sequence[Any], nodes: Sequence[Any]) -> Any:
    """What a difference makes of s^2."""
    return sum((w * u**2 for w, u in zip(weights, nodes, strict=True)), Fraction(0))


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "abm": abm,
        "ipndm_v": ipndm_v,
        "plms": plms,
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
