"""UniPC derived: explicit and implicit Adams methods composed in PEC mode."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from diffnum.derivation.adams import EXACT_STEP, Derived, Line, combination, moment_weights, moments_line
from diffnum.tableau import Stage, Step, Window, vector, vectors

__all__ = ["unipc"]


def _b_function(window: Window, variant: str) -> Any:
    """Return the authors' B(h), scaled like a weight: h (bh1) or the zeroth moment (bh2)."""
    if variant not in ("bh1", "bh2"):
        raise ValueError(f"variant={variant!r} is unknown: use bh1 or bh2")
    return window.step if variant == "bh1" else window.moment(0)


def _conditions(window: Window, nodes: Sequence[Any], variant: str) -> tuple[Any, ...]:
    """Weights on the nodes; where one ratio is left, the authors put B/2 for the first moment."""
    moments = [window.moment(k) for k in range(len(nodes))]
    if len(nodes) == 2:
        moments[1] = _b_function(window, variant) / 2
    return moment_weights(nodes, moments)


def unipc(window: Window, order: int, rate: int | None = -1, variant: str = "bh2") -> Derived:
    """UniPC of any order: predict with p nodes, evaluate, correct with the new node added."""
    x, k1 = vectors("x k1")
    nodes = (Fraction(0), *window.past[: order - 1])
    start = () if "m0" in window.known else (Stage(0, x),)
    newest = "k1" if start else "m0"
    names = [newest, *(f"m{j}" for j in range(1, order))]
    predicted = x + combination(_conditions(window, nodes, variant), names)
    shortcut = f"Where one ratio is left the authors replace the first moment by B(h)/2 ({variant})."
    argument = (
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
        *([Line(shortcut, r"w_1 u_1 = \tfrac12 B(h), \qquad \tfrac12 B(h) - I_1 = O(h^2)")] if order <= 2 else []),
        Line(
            "The evaluation at the predicted point is kept and not repeated (PEC). Its error O(h^{p+1}) enters the next steps "
            "times h, hence at the size O(h^{p+2}) of the corrector's own local error."
        ),
    )
    asymptotic = ("the first moment is B(h)/2 up to O(h^2) where one ratio is left",) if order <= 2 else ()
    if window.last:
        return Derived(Step(start, predicted), argument, asymptotic)
    new = f"k{len(start) + 1}"
    corrected = x + combination(_conditions(window, (*nodes, Fraction(1)), variant), [*names, new])
    memory = {"m0": vector(new)}
    older = [newest, *(f"m{j}" for j in range(1, window.depth) if f"m{j}" in window.known)]
    memory |= {f"m{j}": vector(name) for j, name in enumerate(older[: window.depth], start=1)}
    return Derived(Step((*start, Stage(1, predicted)), corrected, memory), argument, asymptotic)
