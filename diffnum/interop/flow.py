"""Velocity fields of policies, emulators and other programs, integrated by any method of the catalogue.

>>> x = dn.interop.flow.integrate(velocity, noise, method="velocity_rk_heun3", steps=4)  # doctest: +SKIP

``velocity(x, t)`` is what a flow-matching network returns along the straight path between noise and data, in either of
the two conventions that are in use:

``data_at_1``
    t runs from 0 (noise) to 1 (data); the velocity is ``data - noise``;
``data_at_0``
    t runs from 1 (noise) to 0 (data); the velocity is ``noise - data``.

A policy conditions on what it sees, an emulator on the last states of its system: both are closures,

>>> action = dn.interop.flow.integrate(lambda x, t: policy(observation, x, t), noise)  # doctest: +SKIP
>>> after = dn.interop.flow.integrate(lambda x, t: emulator(x, t, before), noise, steps=8)  # doctest: +SKIP
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import array_api_compat
import numpy as np

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.grids import Grid
from diffnum.plans import Plan, plan
from diffnum.schedules import FlowMatching
from diffnum.solver import solve
from diffnum.types import Array, FloatArray, Prediction

__all__ = ["Convention", "flow_plan", "integrate"]

Convention: TypeAlias = Literal["data_at_1", "data_at_0"]

CONVENTIONS = ("data_at_1", "data_at_0")

FAR = 40.0 * math.log(2.0)
"""Half-log-SNR, up to its sign, that stands for infinity at both ends: 1e-12 of signal, or of noise, is left there."""

LARGE = 1e3
"""Weights of a first step from which its rounding and the network's errors are no longer small."""

ENOUGH = 16
"""Numbers in a batch from which the velocity at pure noise tells its direction."""

EXACT = 11
"""Digits to which a time that was moved is the time that it stands for."""


class _Field:
    """A velocity field as a denoiser whose time falls to the data."""

    prediction: Prediction = "velocity"

    def __init__(self, velocity: Callable[[Any, Any], Any], convention: Convention, numbers: Plan) -> None:
        self.velocity, self.schedule = velocity, numbers.schedule
        self.rises = convention == "data_at_1"
        first, last = float(numbers.times[0]), float(numbers.times[-1])
        # ends that the plan has moved are told as they are
        self.exact = {first: round(first, EXACT), last: round(last, EXACT)}
        self.convention = convention

    def __call__(self, x: Array, t: float) -> Array:
        """Velocity towards the noise."""
        xp = array_api_compat.array_namespace(x)
        told = self.exact.get(t, float(t))
        time = 1.0 - told if self.rises else told
        batch = xp.full((x.shape[0],), time, dtype=x.dtype, device=array_api_compat.device(x))
        v = self.velocity(x, batch)
        if getattr(v, "shape", None) != x.shape:
            msg = (
                f"velocity returned shape {getattr(v, 'shape', None)} for x of shape {tuple(x.shape)}: return its like"
            )
            raise ValueError(msg)
        if told == 1.0:
            _warn_of_mixed(x, v, self.convention)
        return -v if self.rises else v


def _warn_of_mixed(x: Array, v: Array, convention: Convention) -> None:
    """Say so where the velocity at pure noise, the data's mean less x up to its sign, leads away from the data."""
    xp = array_api_compat.array_namespace(x)
    x, v = (a.detach() if hasattr(a, "detach") else a for a in (x, v))
    count = math.prod(x.shape)
    apart = x - xp.mean(x)
    spread = float(xp.sum(apart * apart))
    if count < ENOUGH or not 0.1 < spread / count < 10.0:  # no standard normal start: nothing is known of it
        return
    slope = float(xp.sum(apart * v)) / spread
    if (slope if convention == "data_at_1" else -slope) > 0.5:
        other = "noise - data" if convention == "data_at_1" else "data - noise"
        warnings.warn(
            f"convention={convention!r}: at pure noise the velocity leads away from the data, it is {other} (its slope "
            f"in x is {slope:+.2f}); mixed conventions of time and sign: pass lambda x, t: -velocity(x, t), or "
            "velocity(x, 1 - t) reversed where the time runs the other way too",
            stacklevel=4,
        )


def _times(steps: Any, times: Any, convention: Convention) -> FloatArray:
    """Times that fall from noise to data."""
    if times is None:
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
            msg = f"steps={steps!r}: use a whole number >= 1"
            raise ValueError(msg)
        return np.linspace(1.0, 0.0, int(steps) + 1)
    if steps is not None:
        msg = f"steps={steps} and times are both given: pass one of them"
        raise ValueError(msg)
    given = np.asarray(times, dtype=np.float64)
    falling = 1.0 - given if convention == "data_at_1" else given
    good = falling.ndim == 1 and len(falling) >= 2 and bool(np.all(np.diff(falling) < 0.0))
    if not good or falling[0] > 1.0 or falling[-1] < 0.0:
        way = "rise" if convention == "data_at_1" else "fall"
        msg = f"times={given.tolist()}: with {convention} they {way} strictly within [0, 1], from noise to data"
        raise ValueError(msg)
    return falling


def flow_plan(
    method: str | Method = "velocity_rk_heun3",
    steps: int | None = None,
    *,
    times: Sequence[float] | None = None,
    convention: Convention = "data_at_1",
) -> Plan:
    """The numbers of a run, made once and used for every call of :func:`integrate`.

    Parameters
    ----------
    method : str or Method
        Method; ``"euler"`` is what most programs do.
    steps : int, optional
        Number of equal steps; 10 if neither it nor ``times`` is given.
    times : sequence of float, optional
        Times of the nodes from noise to data instead, in the convention.
    convention : {"data_at_1", "data_at_0"}
        Where data are.

    Returns
    -------
    Plan
    """
    if convention not in CONVENTIONS:
        msg = f"convention={convention!r} is unknown: use one of {', '.join(CONVENTIONS)}"
        raise ValueError(msg)
    t = _times(10 if steps is None and times is None else steps, times, convention)
    schedule, record = FlowMatching(), method if isinstance(method, Method) else find_method(method)
    with np.errstate(divide="ignore"):
        lam = np.log1p(-t) - np.log(t)
    if lam[0] < -FAR:
        lam[0], t[0] = -FAR, schedule.time(-FAR)
    if lam[-1] > FAR and record.form.prediction == "velocity":  # whose clock is finite at the data: no special step
        lam[-1], t[-1] = FAR, schedule.time(FAR)
    numbers = plan(record, schedule, Grid(t, lam), prediction="velocity")
    largest = max(abs(float(weight)) for _, row in numbers.programme[0] for weight in dict(row).values())
    if largest > LARGE:
        msg = (
            f"method={record.name!r} from pure noise: its first step has weights up to {largest:.0e}, use one of the "
            "velocity or of data, such as 'velocity_rk_heun3' or 'dpmpp_2m', or begin later by times"
        )
        raise ValueError(msg)
    return numbers


def integrate(
    velocity: Callable[[Any, Any], Any],
    x: Array,
    *,
    method: str | Method | Plan = "velocity_rk_heun3",
    steps: int | None = None,
    times: Sequence[float] | None = None,
    convention: Convention = "data_at_1",
    seed: int | None = None,
) -> Array:
    """Integrate a velocity field from noise to data.

    Parameters
    ----------
    velocity : callable
        ``velocity(x, t)`` returns the velocity of the convention, of the shape of x; t has shape (batch,) and the dtype
        of x.
    x : array, shape (batch, ...)
        Noise (or the state at the first of ``times``): numpy, torch, or another array of the array API.
    method : str, Method or Plan
        Method; or the numbers that :func:`flow_plan` made for this convention, once for many calls.
    steps, times, convention
        As in :func:`flow_plan`.
    seed : int, optional
        Seed of a stochastic method.

    Returns
    -------
    array, of the shape and dtype of ``x``

    Raises
    ------
    ValueError
        If the times do not run from noise to data, the velocity has another shape, or the result is not finite.

    Warns
    -----
    UserWarning
        If the first velocity, at pure noise, leads away from the data: its sign is that of the other convention.

    Examples
    --------
    The straight path to a point takes one step of Euler's rule:

    >>> import numpy as np
    >>> data = np.array([[0.3, -1.0]])
    >>> noise = np.array([[1.0, 2.0]])
    >>> np.round(integrate(lambda x, t: data - noise, noise, method="euler", steps=1), 6)
    array([[ 0.3, -1. ]])
    """
    if not callable(velocity):
        msg = f"velocity={velocity!r} is no function: pass velocity(x, t)"
        raise TypeError(msg)
    if not array_api_compat.is_array_api_obj(x) or x.ndim < 1:
        msg = f"x is a {type(x).__name__}: pass an array of shape (batch, ...)"
        raise TypeError(msg)
    if isinstance(method, Plan):
        if steps is not None or times is not None:
            msg = "steps and times are those of the plan: leave them out"
            raise ValueError(msg)
        numbers = method
    else:
        numbers = flow_plan(method, steps, times=times, convention=convention)
    if convention not in CONVENTIONS:
        msg = f"convention={convention!r} is unknown: use one of {', '.join(CONVENTIONS)}"
        raise ValueError(msg)
    return solve(numbers, _Field(velocity, convention, numbers), x, seed=seed)
