"""What coefficient functions take: the same numbers are refused whatever carries them.

A check looks at numbers that can be looked at: floats, integers, mpmath numbers, arrays and tensors of any dtype.
Kernels, sympy expressions, power series, balls and arrays that are being traced go through unseen, so that the same
lines serve them all.
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import Any

import numpy as np

from diffnum.types import Scalar

__all__ = [
    "NoStepError",
    "clock_step",
    "distinct",
    "inner_node",
    "noise_level",
    "number",
    "one_half",
    "past_nodes",
    "sequence",
    "step_length",
    "within",
]


def number(name: str, value: Any) -> Scalar:
    """Number as it is, lists as arrays, whole numbers of arrays and tensors in float64, where none can overflow.

    Raises
    ------
    TypeError
        If ``value`` is a text, a truth value, complex, of more digits than float64 (mpmath has those), or nothing.
    ValueError
        If it is a whole number beyond the range of float64.
    """
    if isinstance(value, list | tuple | range):
        value = np.asarray(value)
        value = value.astype(np.float64) if value.dtype.kind in "iu" else value
    if not _is_real(value):
        msg = f"{name}={value!r} has type {type(value).__name__}: use a real number or an array of them"
        raise TypeError(msg)
    if type(value) is int and abs(value) > sys.float_info.max:
        msg = f"{name} is a whole number of more than 308 digits, which no float holds: use a smaller one"
        raise ValueError(msg)
    return _widened(value)


def _is_real(value: Any) -> bool:
    """Whether this is a real number or an array of them, of a dtype that the rules take; what is unseen is."""
    if isinstance(value, np.ma.MaskedArray | str | bytes | complex | dict | set | frozenset | bool) or value is None:
        return False
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "iuf" and value.dtype.itemsize <= 8
    dtype = str(getattr(value, "dtype", "")) if type(value).__module__ == "torch" else ""
    return not ("complex" in dtype or "bool" in dtype)


def _widened(value: Any) -> Any:
    """Whole numbers of a fixed width as float64: small ones overflow in a rule, unsigned ones have no sign."""
    if isinstance(value, np.ndarray | np.generic):
        return value.astype(np.float64) if value.dtype.kind in "iu" else value
    if type(value).__module__ == "torch" and not value.is_floating_point():
        return value.double()
    return value


def within(value: Scalar, low: float, high: float, *, closed: bool = True) -> bool:
    """Whether all of ``value`` lie in ``[low, high)``, or ``(low, high)``; true where that cannot be seen."""
    if not _is_seen(value):
        return True
    try:
        inside = ((value >= low) if closed else (value > low)) & (value < high)
        return bool(inside if isinstance(inside, bool) else inside.all())
    except Exception:  # a traced array has no values yet, and says so in a way of its own
        return True


def _is_seen(value: Any) -> bool:
    return isinstance(value, int | float | np.ndarray | np.generic) or type(value).__module__.split(".")[0] in (
        "torch",
        "mpmath",
        "jax",
        "jaxlib",
    )


class NoStepError(ValueError):
    """A step is negative, infinite or not a number."""


def step_length(h: Any, name: str = "h") -> Scalar:
    """Step in half-log-SNR, >= 0.

    Raises
    ------
    TypeError
        If it is no number, or a fraction, whose exponentials are none.
    NoStepError
        If it is negative or not a number.
    """
    if isinstance(h, Fraction):
        msg = f"{name}={h!r} has type Fraction: its exponential is none, use float({name}) or an mpmath number"
        raise TypeError(msg)
    h = number(name, h)
    if not within(h, 0.0, math.inf):
        msg = f"{name}={h} is no step: the half-log-SNR increases while a sampler runs, use finite {name} >= 0"
        raise NoStepError(msg)
    return h


def clock_step(h: Any, name: str = "h") -> Scalar:
    """Step in a clock that may run either way, finite.

    Raises
    ------
    NoStepError
        If it is infinite or not a number.
    """
    h = number(name, h)
    if not within(h, -math.inf, math.inf, closed=False):
        msg = f"{name}={h} is no step: use a finite one, negative in sigma/alpha"
        raise NoStepError(msg)
    return h


def inner_node(name: str, value: Any, *, last: bool = True) -> Scalar:
    """Fraction of a step, in (0, 1], or in (0, 1) without ``last``.

    Raises
    ------
    ValueError
        If it is outside.
    """
    value = number(name, value)
    if not (within(1 - value, 0.0, 1.0) if last else within(value, 0.0, 1.0, closed=False)):
        msg = f"{name}={value} is no inner node: use a fraction of the step in (0, 1{']' if last else ')'}"
        raise ValueError(msg)
    return value


def one_half(half: Any) -> Scalar:
    """The number one half, in any arithmetic.

    Raises
    ------
    ValueError
        If it is another one.
    """
    value: Any = number("half", half)
    if _is_seen(value) and not within(abs(value - 0.5), 0.0, 1e-3):
        msg = f"half={half} is not one half: the parameter only says in which arithmetic 1/2 is to be taken"
        raise ValueError(msg)
    return value  # type: ignore[no-any-return]


def sequence(name: str, values: Any) -> tuple[Any, ...]:
    """Several numbers as a tuple; arrays and tensors are taken by their first axis.

    Raises
    ------
    TypeError
        If it is one number, or in no order.
    """
    ordered = not isinstance(values, str | bytes | dict | set | frozenset) and getattr(values, "ndim", 1) > 0
    if not (ordered and hasattr(values, "__iter__")):
        msg = f"{name}={values!r}: pass a sequence of numbers, such as a list"
        raise TypeError(msg)
    return tuple(values)


def noise_level(value: Any, name: str) -> Scalar:
    """Noise level, finite and >= 0.

    Raises
    ------
    ValueError
        If it is not.
    """
    value = number(name, value)
    if not within(value, 0.0, math.inf):
        msg = f"{name}={value} is no noise level: use a finite number >= 0, 0 for no noise"
        raise ValueError(msg)
    return value


def past_nodes(past: Any = (), /, **nodes: Any) -> tuple[Scalar, ...]:
    """Nodes of past evaluations, in steps, by name or as a sequence: negative, the newest first.

    Raises
    ------
    ValueError
        If one is not negative, or they are out of order.
    """
    newer: Any = 0.0
    values: list[Scalar] = []
    named = {f"past[{i}]": node for i, node in enumerate(sequence("past", past))}
    for name, given in {**named, **nodes}.items():
        value = number(name, given)
        if not within(value, -math.inf, 0.0, closed=False):
            msg = f"{name}={value} is not negative: past nodes are (lambda_past - lambda_n)/h, -1 on equal steps"
            raise ValueError(msg)
        if values and not _below(value, newer):
            msg = f"{name}={value} does not lie before {newer}: give past nodes newest first, each once"
            raise ValueError(msg)
        newer = value
        values.append(value)
    return tuple(values)


def _below(value: Scalar, newer: Scalar) -> bool:
    if not (_is_seen(value) and _is_seen(newer)):
        return True
    return within(newer - value, 0.0, math.inf, closed=False)


def distinct(nodes: Any, name: str = "nodes") -> tuple[Scalar, ...]:
    """Nodes as a tuple; arrays and lists are taken by their first axis.

    Raises
    ------
    ValueError
        If there is none, or a node is repeated.
    """
    values = tuple(number(f"{name}[{i}]", node) for i, node in enumerate(sequence(name, nodes)))
    if not values:
        msg = f"{name}=() is empty: give at least the current node, 0"
        raise ValueError(msg)
    for i, value in enumerate(values):
        if not within(value, -math.inf, math.inf, closed=False):
            msg = f"{name}[{i}]={value} is no node: use finite numbers"
            raise ValueError(msg)
        for other in values[:i]:
            both = _is_seen(value) and _is_seen(other)
            if both and not within(abs(value - other), 0.0, math.inf, closed=False):
                msg = f"{name}={values} repeats a node: the nodes must be distinct"
                raise ValueError(msg)
    return values
