r"""Exponential Runge-Kutta methods: one-step weights at inner nodes.

Weights of a stage at fraction c are relative to the gain *at that stage*, so a first-order stage has weight
:math:`h \int_0^c e^{\kappa h (c - s)} ds = c h \varphi_1(\kappa c h)`.
"""

from __future__ import annotations

from diffnum.coefficients.adams import as_kernel
from diffnum.forms import Kernel
from diffnum.tableau import Stage, Step, Window, vectors
from diffnum.types import Scalar

__all__ = ["dpm_solver_2", "dpm_solver_3", "etd_rk4", "heun"]


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

    Notes
    -----
    Order 2, 2 NFE per step (1 on a step to sigma = 0, which is Euler's). Not to be confused with Heun's method
    of order 3.

    References
    ----------
    Karras et al., arXiv:2206.00364, algorithm 1.
    """
    total = as_kernel(h, prediction).moment(0)
    return total, (total / 2, total / 2)


def dpm_solver_2(
    h: Scalar | Kernel, r1: Scalar = 0.5, prediction: str = "noise"
) -> tuple[Scalar, tuple[Scalar, Scalar]]:
    r"""Weights of DPM-Solver-2, the exponential two-stage method with free inner node.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    r1 : scalar
        Inner node as a fraction of the step, in (0, 1].
    prediction : {"noise", "data"}
        Noise for DPM-Solver-2, data for DPM-Solver++(2S).

    Returns
    -------
    a21, (b1, b2)
        Weights of the stage at ``r1`` and of the step: :math:`b_2 = h\varphi_1/(2 r_1)`.

    Notes
    -----
    Order 2, 2 NFE per step.

    References
    ----------
    Lu et al., arXiv:2206.00927, algorithm 4 (general r_1).
    """
    kernel = as_kernel(h, prediction)
    b2 = kernel.moment(0) / (2 * r1)
    return kernel.moment(0, r1), (kernel.moment(0) - b2, b2)


def dpm_solver_3(
    h: Scalar | Kernel, r1: Scalar = 1 / 3, r2: Scalar = 2 / 3, prediction: str = "noise"
) -> tuple[Scalar, tuple[Scalar, Scalar], tuple[Scalar, Scalar, Scalar]]:
    r"""Weights of DPM-Solver-3, the exponential three-stage method.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    r1, r2 : scalar
        Inner nodes as fractions of the step, 0 < r1 < r2 <= 1. Order 3 needs r2 = 2/3.
    prediction : {"noise", "data"}
        Noise for DPM-Solver-3, data for DPM-Solver++(3S).

    Returns
    -------
    a21, (a31, a32), (b1, b2, b3)
        :math:`a_{32} = (r_2/r_1)\, r_2 h \varphi_2(\kappa r_2 h)`, :math:`b_2 = 0`,
        :math:`b_3 = h\varphi_2(\kappa h)/r_2`.

    Raises
    ------
    ValueError
        If numbers ``r1``, ``r2`` are out of order.

    Notes
    -----
    Order 3, 3 NFE per step.

    References
    ----------
    Lu et al., arXiv:2206.00927, algorithm 5 (general r_1, r_2).
    """
    if isinstance(r1, float) and isinstance(r2, float) and not 0 < r1 < r2 <= 1:
        raise ValueError(f"r1={r1}, r2={r2} are out of order: inner nodes need 0 < r1 < r2 <= 1")
    kernel = as_kernel(h, prediction)
    a32 = kernel.moment(1, r2) / r1  # moment(1, c) = c^2 h phi_2(kappa c h)
    b3 = kernel.moment(1) / r2
    return kernel.moment(0, r1), (kernel.moment(0, r2) - a32, a32), (kernel.moment(0) - b3, 0, b3)


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
    kernel = as_kernel(h, prediction)
    middle = kernel.moment(0, half)
    zeroth, first, second = kernel.moment(0), kernel.moment(1), kernel.moment(2)
    return (
        middle,
        middle,
        (middle / kernel.discount(half) - middle, 2 * middle),
        (zeroth - 3 * first + 2 * second, 2 * (first - second), 2 * (first - second), 2 * second - first),
    )


# -- step rules --------------------------------------------------------------------------------------


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


def dpm_solver_3_step(window: Window, order: int) -> Step:
    """DPM-Solver-1, -2 or -3 with the authors' inner nodes 1/2 and 1/3, 2/3."""
    return exponential_runge_kutta_step(window, min(order, 3))


def exponential_runge_kutta_step(window: Window, order: int) -> Step:
    """One-step method of the given order, 1 to 4, in any form with a fixed kernel."""
    if order == 1:
        return euler_step(window)
    x, k1, k2, k3, k4 = vectors("x k1 k2 k3 k4")
    third, half = window.rational(1, 3), window.rational(1, 2)
    first = Stage(0, x)
    stages: tuple[Stage, ...]
    memory = window.remember(k1)
    if order == 2:
        a21, (b1, b2) = dpm_solver_2(window.kernel, half)
        return Step((first, Stage(half, x + a21 * k1)), x + b1 * k1 + b2 * k2, memory)
    if order == 3:
        a21, (a31, a32), (b1, b2, b3) = dpm_solver_3(window.kernel, third, 2 * third)
        stages = (first, Stage(third, x + a21 * k1), Stage(2 * third, x + a31 * k1 + a32 * k2))
        return Step(stages, x + b1 * k1 + b2 * k2 + b3 * k3, memory)
    a21, a32, (a41, a43), (b1, b2, b3, b4) = etd_rk4(window.kernel, half)
    stages = (first, Stage(half, x + a21 * k1), Stage(half, x + a32 * k2), Stage(1, x + a41 * k1 + a43 * k3))
    return Step(stages, x + b1 * k1 + b2 * k2 + b3 * k3 + b4 * k4, memory)
