"""What coefficient functions take: the same numbers are refused whatever carries them.

A check looks at numbers that can be looked at: floats, integers, mpmath numbers, arrays and tensors of any dtype.
Kernels, sympy expressions, power series, balls and arrays that are being traced go through unseen, so that the same
lines serve them all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from diffnum.types import Scalar

__all__ = ["distinct", "noise_level", "number", "past_nodes", "step_length", "within"]


def number(name: str, value: Any) -> Scalar:
    """Number as it is, lists as arrays.

    Raises
    ------
    TypeError
        If ``value`` is a text, complex, or nothing.
    """
    if isinstance(value, list | tuple):
        value = np.asarray(value)
        value = value.astype(np.float64) if value.dtype.kind in "biu" else value
    kind = value.dtype.kind if isinstance(value, np.ndarray | np.generic) else "f"
    if kind not in "iuf" or isinstance(value, str | bytes | complex | dict | set) or value is None:
        msg = f"{name}={value!r} has type {type(value).__name__}: use a real number or an array of them"
        raise TypeError(msg)
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


def step_length(h: Any, name: str = "h") -> Scalar:
    """Step in half-log-SNR, >= 0.

    Raises
    ------
    ValueError
        If it is negative or not a number.
    """
    h = number(name, h)
    if not within(h, 0.0, math.inf):
        msg = f"{name}={h} is no step: the half-log-SNR increases while a sampler runs, use finite {name} >= 0"
        raise ValueError(msg)
    return h


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


def past_nodes(**nodes: Any) -> tuple[Scalar, ...]:
    """Nodes of past evaluations, in steps: negative, the newest first.

    Raises
    ------
    ValueError
        If one is not negative, or they are out of order.
    """
    newer: Any = 0.0
    values: list[Scalar] = []
    for name, given in nodes.items():
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
    values = tuple(number(f"{name}[{i}]", node) for i, node in enumerate(nodes))
    if not values:
        msg = f"{name}=() is empty: give at least the current node, 0"
        raise ValueError(msg)
    for i, value in enumerate(values):
        for other in values[:i]:
            both = _is_seen(value) and _is_seen(other)
            if both and not within(abs(value - other), 0.0, math.inf, closed=False):
                msg = f"{name}={values} repeats a node: the nodes must be distinct"
                raise ValueError(msg)
    return values
