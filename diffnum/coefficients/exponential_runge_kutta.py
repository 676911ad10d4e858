r"""Exponential Runge-Kutta methods of orders 3 and 4, after stiff order conditions.

Written in :math:`u' = \kappa u + M`, the form that the probability-flow ODE takes in half-log-SNR (kappa = -1 with
data, +1 with noise prediction). :math:`\varphi_{k,c}` is :math:`\varphi_k(c\,\kappa h)`. Each function returns the
stage weights row by row and the weights of the step; weights of a stage are relative to the gain at that stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import factorial
from types import MappingProxyType
from typing import Final, TypeAlias

from diffnum.coefficients.adams import as_kernel
from diffnum.coefficients.checked import inner_node, one_half
from diffnum.coefficients.runge_kutta import exponential_runge_kutta_step, one_step, rational
from diffnum.forms import Kernel
from diffnum.tableau import Step, Window
from diffnum.types import Scalar

__all__ = ["etd_rk3", "hochbruck_ostermann_4", "krogstad_4", "res_3s", "res_gamma"]

Rows: TypeAlias = tuple[tuple[Scalar, ...], ...]


def _phi(kernel: Kernel, k: int, node: Scalar = 1) -> Scalar:
    """``h phi_k(node kappa h)`` from the moments of the kernel."""
    return kernel.moment(k - 1, node) / (node**k * factorial(k - 1))


def etd_rk3(
    h: Scalar | Kernel, half: Scalar = 0.5, prediction: str = "data"
) -> tuple[Rows, tuple[Scalar, Scalar, Scalar]]:
    """Weights of the third-order method of Cox and Matthews: Kutta's rule of order 3 where kappa = 0.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    half : scalar
        The number one half in the arithmetic of ``h``.
    prediction : {"data", "noise"}
        What the model predicts.

    Returns
    -------
    rows : ((), (a21,), (a31, a32))
        Stages at 0, 1/2, 1.
    weights : (b1, b2, b3)
        The exponential Simpson rule.

    Notes
    -----
    Order 3 (stiff order 2), 3 NFE per step.

    References
    ----------
    Cox and Matthews, J. Comput. Phys. 176 (2002), eqs. (23)-(25).
    """
    kernel, half = as_kernel(h, prediction), one_half(half)
    first, middle, last = _simpson(kernel)
    total = kernel.moment(0)
    return ((), (kernel.moment(0, half),), (-total, 2 * total)), (first, middle, last)


def _simpson(kernel: Kernel) -> tuple[Scalar, Scalar, Scalar]:
    """Exponential quadrature on 0, 1/2, 1."""
    phi1, phi2, phi3 = (_phi(kernel, k) for k in (1, 2, 3))
    return phi1 - 3 * phi2 + 4 * phi3, 4 * phi2 - 8 * phi3, 4 * phi3 - phi2


def krogstad_4(
    h: Scalar | Kernel, half: Scalar = 0.5, prediction: str = "data"
) -> tuple[Rows, tuple[Scalar, Scalar, Scalar, Scalar]]:
    """Weights of Krogstad's fourth-order method (ETDRK4-B).

    Parameters
    ----------
    h, half, prediction
        As in :func:`etd_rk3`.

    Returns
    -------
    rows, weights
        Stages at 0, 1/2, 1/2, 1; the exponential Simpson rule.

    Notes
    -----
    Order 4 (stiff order 3), 4 NFE per step. The inner stages of ``etd_rk4`` are corrected by phi_2.

    References
    ----------
    Krogstad, J. Comput. Phys. 203 (2005), eq. (51).
    """
    kernel, half = as_kernel(h, prediction), one_half(half)
    first, middle, last = _simpson(kernel)
    euler, phi2_half, phi2 = kernel.moment(0, half), _phi(kernel, 2, half), _phi(kernel, 2)
    rows: Rows = ((), (euler,), (euler - phi2_half, phi2_half), (kernel.moment(0) - 2 * phi2, 0, 2 * phi2))
    return rows, (first, middle / 2, middle / 2, last)


def hochbruck_ostermann_4(
    h: Scalar | Kernel, half: Scalar = 0.5, prediction: str = "data"
) -> tuple[Rows, tuple[Scalar, int, int, Scalar, Scalar]]:
    """Weights of the five-stage method of Hochbruck and Ostermann, of stiff order 4.

    Parameters
    ----------
    h, half, prediction
        As in :func:`etd_rk3`.

    Returns
    -------
    rows, weights
        Stages at 0, 1/2, 1/2, 1, 1/2.

    Notes
    -----
    Order 4, stiff order 4, 5 NFE per step.

    References
    ----------
    Hochbruck and Ostermann, SIAM J. Numer. Anal. 43 (2005) 1069-1090, section 5, the method of five stages.
    """
    kernel, half = as_kernel(h, prediction), one_half(half)
    first, middle, last = _simpson(kernel)
    euler, phi2_half, phi3_half = kernel.moment(0, half), _phi(kernel, 2, half), _phi(kernel, 3, half)
    phi1, phi2, phi3 = (_phi(kernel, k) for k in (1, 2, 3))
    a52 = phi2_half / 2 - phi3 + phi2 / 4 - phi3_half / 2
    a54 = phi2_half / 4 - a52
    rows: Rows = (
        (),
        (euler,),
        (euler - phi2_half, phi2_half),
        (phi1 - 2 * phi2, phi2, phi2),
        (euler - 2 * a52 - a54, a52, a52, a54),
    )
    return rows, (first, 0, 0, last, middle)


def res_gamma(c2: Scalar, c3: Scalar, *, as_shipped: bool = False) -> Scalar:
    r"""Ratio gamma = b2/b3 of the third-order RES methods.

    The condition :math:`2(\gamma c_2 + c_3) = 3(\gamma c_2^2 + c_3^2)` gives
    :math:`\gamma = (3 c_3^2 - 2 c_3)/(c_2 (2 - 3 c_2))`.

    Parameters
    ----------
    c2, c3 : scalar
        Inner nodes.
    as_shipped : bool
        Take :math:`3 c_3^3`, as the codes in circulation do; right for c3 = 1 only.

    References
    ----------
    Hochbruck and Ostermann, SIAM J. Numer. Anal. 43 (2005), the methods of three stages.
    """
    leading = c3**3 if as_shipped else c3**2
    return (3 * leading - 2 * c3) / (c2 * (2 - 3 * c2))


def res_3s(
    h: Scalar | Kernel, c2: Scalar = 0.5, c3: Scalar = 1, prediction: str = "data", *, as_shipped: bool = False
) -> tuple[Rows, tuple[Scalar, Scalar, Scalar]]:
    r"""Weights of the third-order singlestep RES method with free nodes.

    .. math:: b_3 = \frac{h\varphi_2}{\gamma c_2 + c_3}, \quad b_2 = \gamma b_3, \quad
              a_{32} = h\left(\gamma c_2 \varphi_{2,c_2} + \frac{c_3^2}{c_2} \varphi_{2,c_3}\right)

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    c2, c3 : scalar
        Inner nodes, distinct, in (0, 1], c2 != 2/3.
    prediction : {"data", "noise"}
        What the model predicts.
    as_shipped : bool
        With the cube in gamma, see :func:`res_gamma`.

    Returns
    -------
    rows, weights
        Stages at 0, c2, c3.

    Notes
    -----
    Order 3 (stiff order 3), 3 NFE per step; with ``as_shipped`` order 2 unless c3 = 1.

    References
    ----------
    Zhang et al., arXiv:2308.02157 (refined exponential solver); Hochbruck and Ostermann (2005).
    """
    kernel = as_kernel(h, prediction)
    c2, c3 = inner_node("c2", c2), inner_node("c3", c3)
    try:
        gamma = res_gamma(c2, c3, as_shipped=as_shipped)
        b3 = kernel.moment(1) / (gamma * c2 + c3)
    except ZeroDivisionError:
        msg = f"c2={c2}, c3={c3}: no method of this family has these nodes, use different ones in (0, 1], c2 not 2/3"
        raise ValueError(msg) from None
    a32 = gamma / c2 * kernel.moment(1, c2) + kernel.moment(1, c3) / c2
    b2 = gamma * b3
    return ((), (kernel.moment(0, c2),), (kernel.moment(0, c3) - a32, a32)), (kernel.moment(0) - b2 - b3, b2, b3)


# -- step rules --------------------------------------------------------------------------------------

_FIXED: Final[Mapping[str, tuple[Callable[..., tuple[Rows, tuple[Scalar, ...]]], tuple[Fraction, ...], int]]] = (
    MappingProxyType(
        {
            "etd_rk3": (etd_rk3, (Fraction(0), Fraction(1, 2), Fraction(1)), 3),
            "krogstad_4": (krogstad_4, (Fraction(0), Fraction(1, 2), Fraction(1, 2), Fraction(1)), 4),
            "hochbruck_ostermann_4": (
                hochbruck_ostermann_4,
                (Fraction(0), Fraction(1, 2), Fraction(1, 2), Fraction(1), Fraction(1, 2)),
                4,
            ),
        }
    )
)


def fixed_step(window: Window, order: int, *, method: str) -> Step:
    """Method without free nodes; where a lower order is asked for, DPM-Solver's of that order."""
    weights, nodes, full = _FIXED[method]
    if order < full:
        return exponential_runge_kutta_step(window, order)
    rows, final = weights(window.kernel, window.rational(1, 2))
    return one_step(window, [rational(window, c) for c in nodes], rows, final)


def res_3s_step(window: Window, order: int, *, nodes: tuple[Fraction, Fraction], as_shipped: bool = False) -> Step:
    """RES of order 3; where a lower order is asked for, DPM-Solver's of that order."""
    if order < 3:
        return exponential_runge_kutta_step(window, order)
    c2, c3 = (rational(window, c) for c in nodes)
    rows, weights = res_3s(window.kernel, c2, c3, as_shipped=as_shipped)
    return one_step(window, (0, c2, c3), rows, weights)
