"""Flow matching derived: the pseudo-corrector, and the theorem on its predicted points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.adams import EXACT_STEP, adams, moment_weights, moments_line
from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.records import Derived, Line
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors

__all__ = ["DERIVATION", "predicted_sequence", "pseudo_corrector"]


def pseudo_corrector(window: Window, order: int, rate: int | None = 0) -> Derived:
    """FlowTurbo's pseudo-corrector: one moment for the predictor, two for the corrector."""
    x, k1 = vectors("x k1")
    start = () if "m0" in window.known else (Stage(0, x),)
    old = k1 if start else vector("m0")
    nodes = (Fraction(0), Fraction(1))
    (predictor,) = moment_weights(nodes[:1], [window.moment(0)])
    predicted = x + predictor * old
    argument = (
        EXACT_STEP,
        moments_line(rate),
        Line("Predictor: the velocity is held constant.", "x' = x + h v"),
        Line("Corrector: the line through the velocities at both ends.", r"b_0 + b_1 = I_0, \qquad b_1 = I_1"),
        Line(
            "The velocity at the predicted point is kept for the next step. Its error O(h^2) enters that step times h, "
            "the size of the corrector's own local error."
        ),
    )
    if order == 1:
        return Derived(Step(start, predicted), argument)
    new = vector(f"k{len(start) + 1}")
    b0, b1 = moment_weights(nodes, [window.moment(k) for k in (0, 1)])
    corrected = x + b0 * old + b1 * new
    return Derived(Step((*start, Stage(1, predicted)), corrected, {"m0": new}), argument)


def predicted_sequence(symbols: Symbols, ratio: Any = None) -> tuple[Vector, Vector]:
    r"""How one predicted point follows from the last, and the Adams-Bashforth method of order 2.

    With :math:`\tilde y_n = y_{n-1} + g v_{n-1}` and :math:`y_n = y_{n-1} + g (v_{n-1} + v_n)/2` for a step of
    length g, the next predicted point is :math:`\tilde y_{n+1} = y_n + h v_n`, in which :math:`y_{n-1}` can be
    eliminated.

    Parameters
    ----------
    symbols : Symbols
        Field with the step ``h`` and the plain kernel.
    ratio : scalar, optional
        Length g of the step before in steps; 1 by default.

    Returns
    -------
    predicted, adams_bashforth : Vector
        Both in the vectors ``x`` (the last predicted point), ``k1`` (velocity there) and ``m1`` (at the one before).
        Equal for ratio 1; on other steps the predicted points stay within O(h^2) of the corrected ones all the same.
    """
    before = symbols.h if ratio is None else symbols.h * ratio
    unit = symbols.constant(1)
    known = frozenset({"x", "m0"})
    old = pseudo_corrector(Window(before, (), _PlainKernel(symbols, before), known), 2).step
    new = pseudo_corrector(Window(symbols.h, (), _PlainKernel(symbols, symbols.h), known), 2).step
    x = vector("x")
    # the old step in the velocities m1 (its m0) and k1 (its evaluation at the predicted point)
    corrected = old.x["m0"] * vector("m1") + old.x["k1"] * vector("k1")
    predicted = old.stages[-1].value["m0"] * vector("m1")
    previous = x + corrected - predicted  # y_n = predicted point + corrected - predicted increment
    following = previous + new.stages[-1].value["m0"] * vector("k1")
    past = -unit if ratio is None else -unit * ratio
    reference = adams(Window(symbols.h, (past,), _PlainKernel(symbols, symbols.h)), 2, 0).step.x
    return following, reference


@dataclass(frozen=True)
class _PlainKernel:
    """Plain kernel with a step of its own."""

    symbols: Symbols
    step: Any

    def moment(self, k: int, fraction: Any = 1) -> Any:
        """Moment of the constant kernel."""
        return self.step * Fraction(fraction) ** (k + 1) / (k + 1)

    def discount(self, fraction: Any = 1) -> Any:  # noqa: ARG002
        """One."""
        return self.symbols.constant(1)


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "pseudo_corrector": pseudo_corrector,
    }
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""
