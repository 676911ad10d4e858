r"""Laws that every flow map obeys, as residuals of any map: of an exact one, a student, or a function of one's own.

A map is ``m(x, t, s)``, an average velocity ``u(x, r, t)`` and a velocity ``v(x, t)``, each a function of numpy states
of shape (n, d) and two or one times; residuals have the shape of the state, and vanish for the exact flow. Derivatives
along trajectories are central differences of order 8, good to about 1e-11 where the map varies over a unit of time;
``reach`` is their spacing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffnum.types import FloatArray

__all__ = [
    "consistency_residual",
    "mean_flow_residual",
    "semigroup_residual",
    "shortcut_residual",
    "tangent_residual",
]

TwoTimes = Callable[[FloatArray, float, float], FloatArray]
OneTime = Callable[[FloatArray, float], FloatArray]

_STENCIL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
"""Weights of the central difference of order 8."""


def slope_at_zero(function: Callable[[float], FloatArray], reach: float) -> FloatArray:
    """Derivative at 0 of a function of one number, by central differences of order 8 with spacing ``reach``."""
    parts = [w * (function(k * reach) - function(-k * reach)) for k, w in enumerate(_STENCIL, 1)]
    return np.asarray(sum(parts) / reach)


def semigroup_residual(m: TwoTimes, x: FloatArray, t: float, middle: float, s: float) -> FloatArray:
    """``m(m(x, t, middle), middle, s) - m(x, t, s)``: two maps in a row are one map.

    Parameters
    ----------
    m : callable
        Map ``m(x, t, s)``.
    x : ndarray, shape (n, d)
        States at ``t``.
    t, middle, s : float
        Times, in any order.

    Returns
    -------
    ndarray, shape (n, d)
    """
    return np.asarray(m(m(x, t, middle), middle, s) - m(x, t, s))


def consistency_residual(
    m: TwoTimes, velocity: OneTime, x: FloatArray, t: float, s: float, *, reach: float = 0.004
) -> FloatArray:
    """``dm/dt + (dm/dx) v(x, t)``: the image does not move while the state runs along its trajectory.

    The consistency equation (Song et al. 2023, arXiv:2303.01469; Boffi et al. 2024,
    arXiv:2406.07507, call it the Eulerian one).

    Parameters
    ----------
    m, velocity : callable
        Map ``m(x, t, s)`` and velocity ``v(x, t)``.
    x : ndarray, shape (n, d)
        States at ``t``.
    t, s : float
        Times; ``t`` at least four times ``reach`` inside the domain.
    reach : float
        Spacing of the differences in time.

    Returns
    -------
    ndarray, shape (n, d)
    """
    v = velocity(x, t)
    return slope_at_zero(lambda h: m(x + h * v, t + h, s), reach)


def tangent_residual(
    m: TwoTimes, velocity: OneTime, x: FloatArray, t: float, s: float, *, reach: float = 0.004
) -> FloatArray:
    """``dm/ds - v(m, s)``: the image moves along the flow (Boffi et al. 2024, the Lagrangian equation).

    Parameters
    ----------
    m, velocity, x, t, s, reach
        As for :func:`consistency_residual`; here it is ``s`` that must lie inside the domain.

    Returns
    -------
    ndarray, shape (n, d)
    """
    return slope_at_zero(lambda h: m(x, t, s + h), reach) - velocity(m(x, t, s), s)


def mean_flow_residual(
    u: TwoTimes, velocity: OneTime, x: FloatArray, r: float, t: float, *, reach: float = 0.004
) -> FloatArray:
    """``u - v + (t - r) (du/dt + (du/dx) v)``: the MeanFlow identity (Geng et al. 2025, arXiv:2505.13447).

    Parameters
    ----------
    u, velocity : callable
        Average velocity ``u(x, r, t)`` and velocity ``v(x, t)``.
    x : ndarray, shape (n, d)
        States at ``t``.
    r, t : float
        Times; ``t`` at least four times ``reach`` inside the domain.
    reach : float
        Spacing of the differences in time.

    Returns
    -------
    ndarray, shape (n, d)
    """
    v = velocity(x, t)
    return np.asarray(u(x, r, t) - v + (t - r) * slope_at_zero(lambda h: u(x + h * v, r, t + h), reach))


def shortcut_residual(u: TwoTimes, x: FloatArray, r: float, t: float) -> FloatArray:
    """``u(x, r, t)`` less the mean of its two halves: the shortcut identity.

    Frans et al. 2024, arXiv:2410.12557, where steps are counted forward.

    Parameters
    ----------
    u : callable
        Average velocity ``u(x, r, t)``.
    x : ndarray, shape (n, d)
        States at ``t``.
    r, t : float
        Times, in either order.

    Returns
    -------
    ndarray, shape (n, d)
    """
    middle = 0.5 * (r + t)
    late = u(x, middle, t)
    early = u(x - (t - middle) * late, r, middle)
    return np.asarray(u(x, r, t) - 0.5 * (late + early))
