"""What the schedules share: elementary functions for floats and arrays, formulas, checks and records."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from copy import copy
from functools import cache
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from diffnum.types import Schedule


class Maths(NamedTuple):
    """Elementary functions for one kind of argument; ``log(0)`` is ``-inf`` without noise."""

    exp: Callable[[Any], Any]
    expm1: Callable[[Any], Any]
    log: Callable[[Any], Any]
    log1p: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]
    sin: Callable[[Any], Any]
    atan2: Callable[[Any, Any], Any]
    asinh: Callable[[Any], Any]
    where: Callable[[Any, Any, Any], Any]
    positive_part: Callable[[Any], Any]
    one: Callable[[Any], Any]


def _float_log(x: float) -> float:
    if x > 0.0:
        return math.log(x)
    if x == 0.0:
        return -math.inf
    msg = f"the schedule is not defined at this argument (logarithm of {x!r}); stay in its domain"
    raise ValueError(msg)


def _float_log1p(x: float) -> float:
    return -math.inf if x == -1.0 else math.log1p(x)


def _float_sqrt(x: float) -> float:
    if x < 0.0:
        msg = f"the schedule is not defined at this argument (root of {x!r}); stay in its domain"
        raise ValueError(msg)
    return math.sqrt(x)


_FLOAT = Maths(
    exp=lambda x: math.inf if x > 709.78 else math.exp(x),  # math.exp raises where IEEE says inf
    expm1=math.expm1,
    log=_float_log,
    log1p=_float_log1p,
    sqrt=_float_sqrt,
    sin=math.sin,
    atan2=math.atan2,
    asinh=math.asinh,
    where=lambda condition, if_true, if_false: if_true if condition else if_false,
    positive_part=lambda x: x if x > 0.0 else 0.0,
    one=lambda _: 1.0,
)


@cache
def _array_maths(xp: Any) -> Maths:
    def exp(x: Any) -> Any:
        with np.errstate(over="ignore"):
            return xp.exp(x)

    def log(x: Any) -> Any:
        with np.errstate(divide="ignore"):
            return xp.log(x)

    def log1p(x: Any) -> Any:
        with np.errstate(divide="ignore"):
            return xp.log1p(x)

    return Maths(
        exp=exp,
        expm1=xp.expm1,
        log=log,
        log1p=log1p,
        sqrt=xp.sqrt,
        sin=xp.sin,
        atan2=xp.atan2,
        asinh=xp.asinh,
        where=xp.where,
        positive_part=lambda x: xp.clip(x, min=0.0),
        one=xp.ones_like,
    )


def maths(x: Any) -> tuple[Maths, Any]:
    """Functions for the kind of ``x``, and ``x`` as floating point."""
    if isinstance(x, (float, int)):  # numpy's float64 scalars too
        return _FLOAT, float(x)
    try:
        xp = array_api_compat.array_namespace(x)
    except TypeError as error:
        msg = (
            f"time or half-log-SNR must be a float or an array, got {type(x).__name__}; "
            "convert it with float(...) or numpy.asarray(...)"
        )
        raise TypeError(msg) from error
    if not xp.isdtype(x.dtype, "real floating"):
        x = xp.astype(x, xp.float64)
    return _array_maths(xp), x


# ---------------------------------------------------------------- domains


def _domain(schedule: Any) -> tuple[float, float]:
    """First and last time at which the formulas are asked, infinite where more noise only follows."""
    if hasattr(schedule, _ANYWHERE):
        return -math.inf, math.inf
    endless = hasattr(schedule, "only_adds_noise")  # later times hold the same signal, as churn asks for
    return float(schedule.t_min), math.inf if endless else float(schedule.t_max)


def anywhere(schedule: Any) -> Any:
    """Schedule whose formulas are asked outside of its domain too, as a clock for other processes.

    A clock needs no more than an invertible map between time and half-log-SNR: the method that goes by the time of
    EDM's fitted VP does so on processes with more noise than that has at its end.

    Parameters
    ----------
    schedule : Schedule
        Left as it is.

    Returns
    -------
    Schedule
        Equal copy.
    """
    if not hasattr(schedule, "__dict__"):
        return schedule  # of the user's own, and unmarked anyway
    clock = copy(schedule)
    object.__setattr__(clock, _ANYWHERE, True)
    return clock


_ANYWHERE = "_asked_anywhere"
_ROUNDING = 1e-9  # of the longer end: so far outside is rounding, not a mistake


def _slack(schedule: Any, eps: float = 0.0) -> float:
    """How far outside of the domain a time may lie that was meant to be its end."""
    return max(_ROUNDING, 8.0 * eps) * max(abs(float(schedule.t_min)), abs(float(schedule.t_max)))


def _said(low: float, high: float) -> str:
    return f"[{low!r}, {high!r}{')' if math.isinf(high) else ']'}"


def _outside(schedule: Any, t: float) -> ValueError:
    msg = (
        f"t = {t!r} is outside the domain {_said(*_domain(schedule))} of schedule {schedule.name!r}; choose a time "
        "inside it, or a schedule with a wider domain"
    )
    return ValueError(msg)


def _not_reached(schedule: Any, lam: float) -> ValueError:
    low, high = _domain(schedule)
    least = -math.inf if math.isinf(high) else float(schedule.half_log_snr(high))
    most = float(schedule.half_log_snr(low))
    value = "NaN" if math.isnan(lam) else repr(lam)
    msg = (
        f"half_log_snr = {value} is not reached by schedule {schedule.name!r}, which has [{least!r}, {most!r}] on its "
        f"domain {_said(low, high)}; choose one between, or a schedule with a wider domain"
    )
    return ValueError(msg)


def _on_host(xp: Any, inside: Any) -> bool | None:
    """Whether all hold; None where looking would make the host wait for a device, or cannot be done at all."""
    if array_api_compat.is_numpy_namespace(xp):
        return bool(inside.all())
    if array_api_compat.is_torch_array(inside) and inside.device.type == "cpu":
        torch = sys.modules["torch"]
        if not torch.compiler.is_compiling():
            try:
                return bool(inside.all())
            except RuntimeError:  # torch.func.vmap shows no values
                return None
    return None


def _inside(schedule: Any, t: Any, given: Any, refusal: Callable[[Any, float], ValueError]) -> Any:
    """Times that lie in the domain, those of its ends that rounding put outside moved back; the rest is refused.

    Parameters
    ----------
    schedule : Schedule
        Gives the domain.
    t : float or array
        Times, floating.
    given : float or array
        What the caller passed, of the same shape: a time, or the half-log-SNR that it is the time of.
    refusal : callable
        Error for a schedule and a value of ``given``.

    Raises
    ------
    ValueError
        If a time is NaN or outside. Arrays on an accelerator, or within a transformation (``vmap``, ``jit``), are
        not looked at, which would wait for the device: there the time becomes NaN, and all that is made of it.
    """
    low, high = _domain(schedule)
    if low == -math.inf:
        return t
    if isinstance(t, float):
        if low <= t <= high and t != math.inf:
            return t
        slack = _slack(schedule)
        if not low - slack <= t <= high + slack or t == math.inf:
            raise refusal(schedule, float(given))
        return min(max(t, low), high)
    xp = array_api_compat.array_namespace(t)
    inside = (t >= low) & (t <= high if high < math.inf else t < high)
    if _on_host(xp, inside):
        return t
    slack = _slack(schedule, float(xp.finfo(t.dtype).eps))
    near = (t >= low - slack) & (t <= high + slack if high < math.inf else t < high)
    if _on_host(xp, near) is False:
        flat, outside = xp.reshape(xp.asarray(given), (-1,)), xp.reshape(~near, (-1,))
        raise refusal(schedule, float(flat[int(xp.argmax(xp.astype(outside, xp.int64)))]))
    if high < math.inf:
        t = xp.where(near & (t > high), xp.full_like(t, high), t)
    t = xp.where(near & (t < low), xp.full_like(t, low), t)
    return xp.where(near, t, xp.full_like(t, math.nan))


def at(schedule: Any, t: Any) -> tuple[Maths, Any]:
    """Functions for the kind of ``t``, and ``t`` as floating point in the domain of a schedule."""
    m, t = maths(t)
    return m, _inside(schedule, t, t, _outside)


def reached(schedule: Any, lam: Any, t: Any) -> Any:
    """Times ``t`` of half-log-SNRs ``lam``, refused where they are outside of the domain of a schedule."""
    return _inside(schedule, t, lam, _not_reached)


# ---------------------------------------------------------------- formulas, in exponent = -2 log(alpha)


def softplus(m: Maths, x: Any) -> Any:
    """``log(1 + exp(x))`` without overflow."""
    return m.positive_part(x) + m.log1p(m.exp(-abs(x)))


def vp_alpha(m: Maths, exponent: Any) -> Any:
    """Signal factor at ``exponent = -2 log alpha``."""
    return m.exp(-0.5 * exponent)


def vp_sigma(m: Maths, exponent: Any) -> Any:
    """Noise standard deviation at ``exponent = -2 log alpha``, without cancellation."""
    return m.sqrt(-m.expm1(-exponent))


def vp_half_log_snr(m: Maths, exponent: Any) -> Any:
    """Half-log-SNR at ``exponent = -2 log alpha``."""
    return -0.5 * exponent - 0.5 * m.log(-m.expm1(-exponent))


def vp_exponent(m: Maths, lam: Any) -> Any:
    """Inverse of :func:`vp_half_log_snr`: ``log(1 + exp(-2 lam))``."""
    return softplus(m, -2.0 * lam)


def vp_rates(alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Derivatives of ``alpha`` and ``sigma^2 / 2 = (1 - alpha^2) / 2``; ``beta`` is the rate of ``-2 log alpha``."""
    slope = -0.5 * beta * alpha
    return slope, -slope * alpha


def linear_exponent(beta_min: float, beta_max: float, t: Any) -> Any:
    """``-2 log alpha`` of a linear beta: the integral of beta from 0 to ``t``."""
    return t * (beta_min + (0.5 * (beta_max - beta_min)) * t)


def linear_rate(beta_min: float, beta_max: float, t: Any) -> Any:
    """Derivative of :func:`linear_exponent` with respect to time: beta."""
    return beta_min + (beta_max - beta_min) * t


def linear_time(m: Maths, beta_min: float, beta_max: float, exponent: Any) -> Any:
    """Inverse of :func:`linear_exponent`."""
    # The root of the quadratic without a difference, so that beta_max = beta_min needs no case of its own.
    twice = 2.0 * exponent
    if beta_min < 0.0:
        return (m.sqrt(beta_min * beta_min + (beta_max - beta_min) * twice) - beta_min) / (beta_max - beta_min)
    return twice / (m.sqrt(beta_min * beta_min + (beta_max - beta_min) * twice) + beta_min)


# ---------------------------------------------------------------- shared checks and records


def check_positive(**arguments: float) -> None:
    """Refuse arguments, by name, that are not finite positive numbers."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            msg = f"{name} must be a real number, got {value!r}; pass a float"
            raise TypeError(msg)
        if not (math.isfinite(value) and value > 0.0):
            msg = f"{name} must be finite and positive, got {value!r}; pass {name} > 0"
            raise ValueError(msg)


def check_order(low_name: str, low: float, high_name: str, high: float, *, equal: bool) -> None:
    """Refuse two arguments whose order is the wrong way round."""
    if high < low or (high == low and not equal):
        relation = "at least" if equal else "larger than"
        msg = f"{high_name} must be {relation} {low_name} = {low!r}, got {high!r}; pass a larger {high_name}"
        raise ValueError(msg)


def check_linear(beta_min: float, beta_max: float, default_t_end: float, t_max: float) -> None:
    """Refuse the parameters of a linear beta that make no schedule."""
    check_positive(beta_min=beta_min, beta_max=beta_max, t_max=t_max)
    check_order("default_t_end", default_t_end, "t_max", t_max, equal=False)
    check_order("beta_min", beta_min, "beta_max", beta_max, equal=True)


def parameters(schedule: Any) -> dict[str, Any]:
    """JSON-able record of the constructor arguments."""
    record: dict[str, Any] = {"schedule": schedule.name}
    for entry in dataclasses.fields(schedule):
        if entry.init:
            value = getattr(schedule, entry.name)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            record[entry.name] = list(value) if isinstance(value, tuple) else value
    return record


def exact(value: float) -> Any:
    """Float as a rational number of sympy."""
    import sympy

    return sympy.Rational(repr(float(value)))


def symbols() -> tuple[Any, Any]:
    """Symbols of the time and of the half-log-SNR."""
    import sympy

    return sympy.Symbol("t", positive=True), sympy.Symbol("lam", real=True)


def linear_symbols(beta_min: float, beta_max: float, t: Any, twice_exponent: Any) -> tuple[Any, Any]:
    """Symbolic ``log alpha`` at ``t``, and the time at which ``-4 log alpha`` is ``twice_exponent``."""
    import sympy

    low, slope = exact(beta_min), exact(beta_max) - exact(beta_min)
    time = twice_exponent / (sympy.sqrt(low**2 + slope * twice_exponent) + low)
    return -slope * t**2 / 4 - low * t / 2, time


def check_time(schedule: Schedule, t: Any, argument_name: str = "t") -> None:
    """Raise unless every time lies in the domain of a schedule.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    t : float or array_like
        Time or times, any shape.
    argument_name : str
        What the caller calls ``t``; the message starts with it.

    Raises
    ------
    TypeError
        If ``t`` is not numeric.
    ValueError
        If a time is NaN or outside ``[schedule.t_min, schedule.t_max]``.
    """
    try:
        times = np.asarray(t, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{argument_name} must be numeric, got {t!r}; pass a float or an array"
        raise TypeError(msg) from error
    inside = (times >= schedule.t_min) & (times <= schedule.t_max)  # False for NaN
    if np.all(inside):
        return
    first = int(np.argmin(inside.ravel()))
    place = argument_name if times.ndim == 0 else f"{argument_name}[{first}]"
    value = float(times.ravel()[first])
    if math.isnan(value):
        msg = f"{place} is NaN; pass a finite time in [{schedule.t_min!r}, {schedule.t_max!r}]"
        raise ValueError(msg)
    msg = (
        f"{place} = {value!r} is outside the domain [{schedule.t_min!r}, {schedule.t_max!r}] of schedule "
        f"{schedule.name!r}; choose a time inside it, or a schedule with a wider domain"
    )
    raise ValueError(msg)


def nearest_time(schedule: Schedule, lam: Any) -> Any:
    """Time of a half-log-SNR, that of the nearer end where the schedule does not reach it.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    lam : float or ndarray
        Half-log-SNR, natural log of alpha/sigma, any shape.

    Returns
    -------
    float or ndarray
        In ``[schedule.t_min, schedule.t_max]``, of the shape of ``lam``.
    """
    low, high = (float(schedule.half_log_snr(t)) for t in (float(schedule.t_max), float(schedule.t_min)))
    inside = np.clip(np.asarray(lam, dtype=np.float64), low, high)
    t = np.clip(schedule.time(inside), schedule.t_min, schedule.t_max)
    return float(t) if np.ndim(lam) == 0 else t


class SymbolicSchedule(NamedTuple):
    """The symbolic (sympy) face of a schedule.

    Attributes
    ----------
    t, lam : sympy.Symbol
        Time (positive) and half-log-SNR (real).
    alpha, sigma, half_log_snr : sympy.Expr
        Textbook expressions in ``t``; decimal parameters become exact rationals (0.1 is 1/10).
    time : sympy.Expr
        Inverse of ``half_log_snr``, an expression in ``lam``.
    """

    t: Any
    lam: Any
    alpha: Any
    sigma: Any
    half_log_snr: Any
    time: Any
