"""The probability-flow map of any exact problem, by an adaptive Runge-Kutta method of order 8.

With ``c^2 = alpha^2 + sigma^2``, ``alpha = c cos(theta)`` and ``sigma = c sin(theta)``, the scaled state
``y = x / c = cos(theta) x_0 + sin(theta) eps`` obeys ``dy/dtheta = cos(theta) eps - sin(theta) x_0``, the
v-prediction. Clock and right-hand side are bounded up to both ends (``sigma = 0`` and ``alpha = 0``), and no
schedule enters: the flow between two times depends on their ``alpha`` and ``sigma`` only. No solver of this
package is used.
"""

from __future__ import annotations

from collections.abc import Callable
from math import atan2, cos, hypot, sin

import numpy as np
from scipy.integrate import solve_ivp

from diffnum.problems._states import LinearForm, check_schedule, check_state, drift, endpoint
from diffnum.types import Array, FloatArray, Schedule

Field = Callable[[FloatArray, float, float, LinearForm], FloatArray]
"""``predict(y, alpha, sigma, form)`` of a problem, shapes (n, d) to (n, d)."""


Map = Callable[[FloatArray, tuple[float, float], tuple[float, float]], FloatArray]
"""A flow map of float64 states between two pairs ``(alpha, sigma)``."""


def carry(x: Array, dim: int, schedule: Schedule, t_from: float, t_to: float, mapping: Map) -> Array:
    """Apply a flow map of numpy states to any array: check, take the drift out, map, put it back.

    Raises
    ------
    TypeError, ValueError
        If ``x``, the schedule or a time is not what a flow map takes.
    """
    check_schedule(schedule)
    state = check_state(x, dim)
    start, end = endpoint(schedule, t_from, "t_from"), endpoint(schedule, t_to, "t_to")
    host = state.on_host()
    y = host.flat - drift(schedule, start[0], host, np.float64)
    return state.from_host(mapping(y, start, end) + drift(schedule, end[0], host, np.float64))


def integrate(
    predict: Field,
    y: FloatArray,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    tolerance: float = 1e-13,
    scale: float = 1.0,
) -> FloatArray:
    """Carry states along the probability flow from one noise level to another.

    Parameters
    ----------
    predict : callable
        Exact prediction of a linear form at float64 states of shape (n, d).
    y : ndarray, shape (n, d)
        States at the start (less the drift of a mean-reverting process).
    start, end : (float, float)
        ``(alpha, sigma)`` at the two ends.
    tolerance : float
        Relative tolerance of each step, and absolute tolerance in units of ``scale``.
    scale : float
        Smallest standard deviation of a normalised state along the path; sets the absolute tolerance.

    Returns
    -------
    ndarray, shape (n, d)

    Raises
    ------
    RuntimeError
        If the integrator cannot reach the end.
    """
    theta_from, theta_to = atan2(start[1], start[0]), atan2(end[1], end[0])
    scaled = y / hypot(*start)
    if theta_from == theta_to:
        return scaled * hypot(*end)

    def field(theta: float, flat: FloatArray) -> FloatArray:
        alpha, sigma = cos(theta), sin(theta)
        form = LinearForm(-sigma, alpha * sigma)
        return predict(flat.reshape(y.shape), alpha, sigma, form).reshape(-1)

    solution = solve_ivp(
        field,
        (theta_from, theta_to),
        np.ascontiguousarray(scaled).reshape(-1),
        method="DOP853",
        t_eval=(theta_to,),
        rtol=tolerance,
        atol=tolerance * scale,
    )
    if not solution.success:
        msg = f"the reference flow stopped early: {solution.message}; check the scale of the problem"
        raise RuntimeError(msg)
    return np.asarray(solution.y[:, -1], dtype=np.float64).reshape(y.shape) * hypot(*end)
