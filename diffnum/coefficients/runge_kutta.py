r"""One-step methods: DPM-Solver with free inner nodes, and Runge-Kutta tableaux in the plain clocks.

Weights of a stage at fraction c are relative to the gain *at that stage*, so a first-order stage has weight
:math:`h \int_0^c e^{\kappa h (c - s)} ds = c h \varphi_1(\kappa c h)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from diffnum.coefficients.adams import CLOCKS, as_kernel
from diffnum.coefficients.checked import clock_step, number, one_half, within
from diffnum.coefficients.tableaux import LOWER, TABLEAUX, ButcherTableau
from diffnum.forms import Kernel
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors
from diffnum.types import Scalar

__all__ = ["VARIANTS", "dpm_solver_2", "dpm_solver_3", "etd_rk4", "heun", "runge_kutta_weights"]

VARIANTS = ("dpmsolver", "taylor")
"""How DPM-Solver weighs differences: by limits of the moments (half of the zeroth), or by the exact moments."""


def heun(h: Scalar | Kernel, prediction: str = "rho") -> tuple[Scalar, tuple[Scalar, Scalar]]:
    """Weights of Heun's method (the explicit trapezoidal rule).

    Parameters
    ----------
    h : scalar or array
        Step in sigma/alpha (< 0 while sampling) or sigma/(alpha + sigma).
    prediction : {"rho", "velocity"}
        Clock; both have the plain kernel.

    Returns
    -------
    a21 : scalar or array
        Weight of the first evaluation in the second stage, at node 1.
    (b1, b2) : scalars or arrays
        Weights of the two evaluations in the step.

    Raises
    ------
    ValueError
        If there is no such rule for the prediction.

    Notes
    -----
    Order 2, 2 NFE per step (1 on a step to sigma = 0, which is Euler's). Not to be confused with Heun's method
    of order 3.

    References
    ----------
    Karras et al., arXiv:2206.00364, algorithm 1.
    """
    if prediction not in CLOCKS:
        msg = f"prediction={prediction!r}: Heun's method is for {' and '.join(CLOCKS)}, use one of them"
        raise ValueError(msg)
    total = as_kernel(h, prediction).moment(0)
    return total, (total / 2, total / 2)


def dpm_solver_2(
    h: Scalar | Kernel, r1: Scalar = 0.5, prediction: str = "noise", variant: str = "dpmsolver"
) -> tuple[Scalar, tuple[Scalar, Scalar]]:
    r"""Weights of DPM-Solver-2, the exponential two-stage method with free inner node.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    r1 : scalar or array
        Inner node as a fraction of the step, in (0, 1].
    prediction : {"noise", "data"}
        Noise for DPM-Solver-2, data for DPM-Solver++(2S).
    variant : {"dpmsolver", "taylor"}
        Weight of the slope: half of the zeroth moment, or the first moment exactly.

    Returns
    -------
    a21, (b1, b2)
        Weights of the stage at ``r1`` and of the step: :math:`b_2 = h\varphi_1/(2 r_1)` (dpmsolver) or
        :math:`h\varphi_2/r_1` (taylor).

    Raises
    ------
    ValueError
        If ``variant`` is unknown, or the number ``r1`` is not in (0, 1].

    Notes
    -----
    Order 2, 2 NFE per step. With r1 = 1/2 and noise this is k-diffusion's ``dpm_2``; "taylor" is RES of order 2
    (arXiv:2308.02157), and with r1 = 1 ETD-RK2 of Cox and Matthews.

    References
    ----------
    Lu et al., arXiv:2206.00927 (general r_1: LuChengTHU/dpm-solver at 52bc3fbc,
    ``singlestep_dpm_solver_second_update``); arXiv:2211.01095, algorithm 1.
    """
    _check(variant, r1)
    kernel = as_kernel(h, prediction)
    b2 = (kernel.moment(0) / 2 if variant == "dpmsolver" else kernel.moment(1)) / r1
    return kernel.moment(0, r1), (kernel.moment(0) - b2, b2)


def dpm_solver_3(
    h: Scalar | Kernel,
    r1: Scalar = 1 / 3,
    r2: Scalar = 2 / 3,
    prediction: str = "noise",
    variant: str = "dpmsolver",
) -> tuple[Scalar, tuple[Scalar, Scalar], tuple[Scalar, Scalar, Scalar]]:
    r"""Weights of DPM-Solver-3, the exponential three-stage method.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    r1, r2 : scalar or array
        Inner nodes as fractions of the step, 0 < r1 < r2 <= 1. Order 3 needs r2 = 2/3 up to O(h); otherwise it is 2.
    prediction : {"noise", "data"}
        Noise for DPM-Solver-3, data for DPM-Solver++(3S).
    variant : {"dpmsolver", "taylor"}
        Slope from the second inner node alone, or slope and curvature from both.

    Returns
    -------
    a21, (a31, a32), (b1, b2, b3)
        :math:`a_{32} = (r_2/r_1)\, r_2 h \varphi_2(\kappa r_2 h)`; "dpmsolver": :math:`b_2 = 0`,
        :math:`b_3 = h\varphi_2(\kappa h)/r_2`; "taylor": the exponential quadrature on 0, r1, r2.

    Raises
    ------
    ValueError
        If ``variant`` is unknown, or the numbers ``r1``, ``r2`` are out of order.

    Notes
    -----
    Order 3 for r2 = 2/3, 3 NFE per step. "dpmsolver" is a method of Hochbruck and Ostermann (2005),
    of stiff order 3.

    References
    ----------
    Lu et al., arXiv:2206.00927; general r_1, r_2 and "taylor": LuChengTHU/dpm-solver at 52bc3fbc,
    ``singlestep_dpm_solver_third_update``.
    """
    _check(variant, r1, r2)
    kernel = as_kernel(h, prediction)
    a32 = kernel.moment(1, r2) / r1  # moment(1, c) = c^2 h phi_2(kappa c h)
    first = kernel.moment(1)
    b2: Scalar = 0
    if variant == "dpmsolver":
        b3 = first / r2
    else:
        second = kernel.moment(2)
        b2, b3 = (first * r2 - second) / ((r2 - r1) * r1), (second - first * r1) / ((r2 - r1) * r2)
    return kernel.moment(0, r1), (kernel.moment(0, r2) - a32, a32), (kernel.moment(0) - b2 - b3, b2, b3)


def _check(variant: str, *nodes: Scalar) -> None:
    """Refuse unknown variants, and numbers that are no increasing inner nodes; symbols pass."""
    if variant not in VARIANTS:
        msg = f"variant={variant!r} is unknown: use one of {', '.join(VARIANTS)}"
        raise ValueError(msg)
    seen = [number(f"r{i}", r) for i, r in enumerate(nodes, start=1)]
    ordered = all(within(b - a, 0.0, math.inf, closed=False) for a, b in pairwise(seen))
    if not (ordered and all(within(1 - r, 0.0, 1.0) for r in seen)):
        names = ", ".join(f"r{i}={r}" for i, r in enumerate(nodes, start=1))
        msg = f"{names}: out of order, inner nodes need 0 < r1 < r2 <= 1"
        raise ValueError(msg)


def etd_rk4(
    h: Scalar | Kernel, half: Scalar = 0.5, prediction: str = "noise"
) -> tuple[Scalar, Scalar, tuple[Scalar, Scalar], tuple[Scalar, Scalar, Scalar, Scalar]]:
    r"""Weights of the exponential fourth-order method of Cox and Matthews; the classical RK4 where kappa = 0.

    Parameters
    ----------
    h : scalar or array
        Step in the clock.
    half : scalar
        The number one half in the arithmetic of ``h``.
    prediction : {"data", "noise", "rho", "velocity"}
        What the model predicts.

    Returns
    -------
    a21, a32, (a41, a43), (b1, b2, b3, b4)
        Stages at the nodes 0, 1/2, 1/2, 1.

    Notes
    -----
    Classical order 4 (stiff order 2), 4 NFE per step.

    References
    ----------
    Cox and Matthews, J. Comput. Phys. 176 (2002), eqs. (26)-(29).
    """
    kernel, half = as_kernel(h, prediction), one_half(half)
    middle = kernel.moment(0, half)
    zeroth, first, second = kernel.moment(0), kernel.moment(1), kernel.moment(2)
    return (
        middle,
        middle,
        (middle / kernel.discount(half) - middle, 2 * middle),
        (zeroth - 3 * first + 2 * second, 2 * (first - second), 2 * (first - second), 2 * second - first),
    )


def runge_kutta_weights(
    h: Scalar, tableau: ButcherTableau | str
) -> tuple[tuple[tuple[Scalar, ...], ...], tuple[Scalar, ...]]:
    """Weights of an explicit Runge-Kutta method in a plain clock: the tableau times the step.

    Parameters
    ----------
    h : scalar or array
        Step in sigma/alpha or sigma/(alpha + sigma), < 0 while sampling.
    tableau : ButcherTableau or str
        Tableau, or a key of :data:`~diffnum.coefficients.tableaux.TABLEAUX`.

    Returns
    -------
    rows : tuple of tuples of scalars
        Stage weights; row i has i entries.
    weights : tuple of scalars
        Weights of the step; they sum to ``h``.

    Raises
    ------
    ValueError
        If the name is unknown.

    Notes
    -----
    NFE per step: the stages of the tableau. Zhang and Chen's rhoRK-DEIS is this with noise prediction in sigma/alpha.

    References
    ----------
    Zhang and Chen, arXiv:2204.13902 (rhoRK-DEIS).
    """
    if isinstance(tableau, str):
        if tableau not in TABLEAUX:
            msg = f"tableau={tableau!r} is unknown: use one of {', '.join(TABLEAUX)}, or a ButcherTableau"
            raise ValueError(msg)
        tableau = TABLEAUX[tableau]
    if not isinstance(tableau, ButcherTableau):
        msg = f"tableau={tableau!r}: use one of {', '.join(TABLEAUX)}, or a ButcherTableau"
        raise TypeError(msg)
    h = clock_step(h)
    rows = tuple(tuple(_number(a) * h for a in row) for row in tableau.A)
    return rows, tuple(_number(b) * h for b in tableau.b)


def _number(value: Fraction) -> float | int:
    """Rational number for floats and arrays; zero and whole numbers stay exact."""
    return int(value) if value.denominator == 1 else value.numerator / value.denominator


# -- step rules --------------------------------------------------------------------------------------


def one_step(
    window: Window, nodes: Sequence[Scalar], rows: Sequence[Sequence[Scalar]], weights: Sequence[Scalar]
) -> Step:
    """Explicit step with the stages ``nodes``, their weights ``rows`` and final weights; zeros are left out."""
    x = vector("x")
    names = [f"k{i}" for i in range(1, len(weights) + 1)]

    def combined(row: Sequence[Scalar]) -> Vector:
        terms = {name: w for name, w in zip(names, row, strict=False) if not (isinstance(w, int | Fraction) and w == 0)}
        return x + Vector(terms)

    stages = tuple(Stage(node, combined(row)) for node, row in zip(nodes, rows, strict=True))
    return Step(stages, combined(weights), window.remember(vector("k1")))


def rational(window: Window, value: Fraction) -> Scalar:
    """Rational constant in the arithmetic of the step; 0 and 1 are exact."""
    if value.denominator == 1:
        return int(value)
    return window.rational(value.numerator, value.denominator)


def euler_step(window: Window) -> Step:
    """Exponential Euler; 1 NFE."""
    x, k1 = vectors("x k1")
    return Step((Stage(0, x),), x + window.moment(0) * k1, window.remember(k1))


def heun_step(window: Window, order: int) -> Step:
    """Heun's method; Euler's where only order 1 is asked for, as on a step to sigma = 0."""
    if order == 1:
        return euler_step(window)
    x, k1, k2 = vectors("x k1 k2")
    a21, (b1, b2) = heun(window.kernel)
    return Step((Stage(0, x), Stage(1, x + a21 * k1)), x + b1 * k1 + b2 * k2)


def dpm_solver_step(
    window: Window, order: int, *, variant: str = "dpmsolver", nodes: tuple[Fraction, ...] = ()
) -> Step:
    """DPM-Solver-1, -2 or -3 with the inner nodes of the grid, or given ones, or the authors' 1/2 and 1/3, 2/3."""
    order = min(order, 3)
    if order == 1:
        return euler_step(window)
    inner = window.inner
    if not inner:
        given = nodes if len(nodes) == order - 1 else tuple(Fraction(j, order) for j in range(1, order))
        inner = tuple(rational(window, r) for r in given)
    if order == 2:
        a21, weights = dpm_solver_2(window.kernel, inner[0], variant=variant)
        return one_step(window, (0, *inner), ((), (a21,)), weights)
    a21, a3, weights_3 = dpm_solver_3(window.kernel, inner[0], inner[1], variant=variant)
    return one_step(window, (0, *inner), ((), (a21,), a3), weights_3)


def exponential_runge_kutta_step(window: Window, order: int) -> Step:
    """One-step method of the given order, 1 to 4, in any form with a fixed kernel."""
    if order <= 3:
        return dpm_solver_step(window, order)
    half = window.rational(1, 2)
    a21, a32, (a41, a43), weights = etd_rk4(window.kernel, half)
    return one_step(window, (0, half, half, 1), ((), (a21,), (0, a32), (a41, 0, a43)), weights)


def tableau_step(window: Window, order: int, *, tableau: ButcherTableau) -> Step:
    """Explicit Runge-Kutta step in a plain clock; where a lower order is asked for, a tableau of that order."""
    chosen = tableau if order >= tableau.order else TABLEAUX[LOWER[order]]
    h = window.moment(0)

    def weighed(row: Sequence[Fraction]) -> tuple[Scalar, ...]:
        return tuple(0 if entry == 0 else rational(window, entry) * h for entry in row)

    nodes = [rational(window, node) for node in chosen.c]
    return one_step(window, nodes, [weighed(row) for row in chosen.A], weighed(chosen.b))
