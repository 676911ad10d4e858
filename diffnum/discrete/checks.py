"""What the functions on tokens are given, checked once: counts, laws, tokens, times, marginals."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffnum.types import FloatArray

__all__ = [
    "TokenArray",
    "checked_law",
    "checked_marginals",
    "checked_time",
    "checked_tokens",
    "numbers",
    "whole_number",
]

TokenArray = NDArray[np.int64]
"""Tokens, shape (n, L)."""

TOLERANCE = 1e-9
"""How far from one a law may sum."""

LOOSE = 1e-2
"""How far from one a model's marginals may sum: half-precision softmax does not do better."""

TIGHT = 1e-12
"""What is taken for rounding; marginals that are further off are divided by their sum."""


def whole_number(name: str, value: Any, least: int = 1, remedy: str = "") -> int:
    """A whole number.

    Raises
    ------
    TypeError
        For anything that is no whole number.
    ValueError
        For one below ``least``.
    """
    how = remedy or f"use a whole number >= {least}"
    if isinstance(value, bool | np.bool_):
        msg = f"{name}={value}: {how}"
        raise TypeError(msg)
    try:
        number = operator.index(value)
    except TypeError:
        msg = f"{name}={value!r}: {how}"
        raise TypeError(msg) from None
    if number < least:
        msg = f"{name}={number}: {how}"
        raise ValueError(msg)
    return number


def numbers(name: str, values: Any, what: str) -> NDArray[Any]:
    """Values as an array of real numbers."""
    try:
        found = np.asarray(values)
    except ValueError:
        msg = f"{name} is ragged: pass {what} as an array"
        raise ValueError(msg) from None
    if found.dtype.kind not in "fiu":
        msg = f"{name} has dtype {found.dtype}: pass {what} as real numbers"
        raise TypeError(msg)
    return found


def checked_law(name: str, values: Any, axis: Any = -1, ndim: int | None = None) -> FloatArray:
    """Probabilities that are >= 0 and sum to one along an axis, normalised to the last bit.

    Parameters
    ----------
    name : str
        The argument.
    values : array_like
        The probabilities.
    axis : int or tuple of int
        Along which they sum to one.
    ndim : int, optional
        Number of axes that they must have.
    """
    p = np.asarray(numbers(name, values, "probabilities"), dtype=np.float64)
    if p.ndim == 0 or (ndim is not None and p.ndim != ndim) or 0 in p.shape[-1:]:
        msg = f"{name} has shape {p.shape}: pass probabilities" + (f" with {ndim} axes" if ndim is not None else "")
        raise ValueError(msg)
    if not np.all(np.isfinite(p)):
        msg = f"{name} holds values that are not finite: pass probabilities"
        raise ValueError(msg)
    if np.any(p < 0):
        msg = f"{name} holds the negative probability {p.min():g}: pass values >= 0"
        raise ValueError(msg)
    total = p.sum(axis=axis, keepdims=True)
    off = np.abs(total - 1.0)
    if off.size and float(off.max()) > TOLERANCE:
        msg = f"{name} sums to {float(total.flat[np.argmax(off)]):.6g}, not to one: divide by it"
        raise ValueError(msg)
    return np.asarray(p / total, dtype=np.float64)


def checked_tokens(name: str, x: Any, states: int, length: int, mask: int | None = None) -> TokenArray:
    """Tokens of shape (n, length), each a whole number in 0 ... states - 1.

    Parameters
    ----------
    name : str
        The argument.
    x : array_like of int
        The tokens.
    states : int
        How many there are.
    length : int
        Number of positions.
    mask : int, optional
        The mask, named in the message where it is no state.
    """
    tokens = np.asarray(x)
    if tokens.dtype.kind not in "iu":
        msg = f"{name} has dtype {tokens.dtype}: pass tokens as integers"
        raise TypeError(msg)
    if tokens.ndim != 2 or tokens.shape[1] != length:
        msg = f"{name} has shape {tokens.shape}: pass tokens of shape (n, {length})"
        raise ValueError(msg)
    outside = tokens[(tokens < 0) | (tokens >= states)]
    if outside.size:
        what = "the mask token" if mask is not None and outside[0] == mask else f"token {outside[0]}"
        msg = f"{name} holds {what}: use tokens 0 ... {states - 1}"
        raise ValueError(msg)
    return np.asarray(tokens, dtype=np.int64)


def checked_time(name: str, t: Any, n: int | None = None, *, open_end: bool = False) -> None:
    """Raise unless a time, or one for each of n sequences, lies in [0, 1] (without 0 if ``open_end``)."""
    times = np.asarray(numbers(name, t, "times"), dtype=np.float64)
    if times.ndim > 1 or (times.ndim == 1 and n is not None and len(times) != n):
        msg = f"{name} has shape {times.shape}: pass one time" + (f", or one for each of {n} sequences" if n else "")
        raise ValueError(msg)
    # written so that NaN is outside
    inside = (times <= 1.0) & (times > 0.0 if open_end else times >= 0.0)
    if not np.all(inside):
        worst = float(times.ravel()[np.argmin(inside)])
        msg = f"{name}={worst:g} lies outside {'(' if open_end else '['}0, 1]: data are at 0, noise at 1"
        raise ValueError(msg)


def checked_marginals(p: Any, shape: tuple[int, ...]) -> FloatArray:
    """Marginals that a model returned, in float64.

    Raises
    ------
    TypeError
        If they are no real numbers of this shape.
    ValueError
        If they are not finite, negative, or sum to one only within :data:`LOOSE` (logits, or weights).
    """
    out = np.asarray(p)
    if out.dtype.kind not in "fiu" or out.shape != shape:
        msg = f"the model returned shape {out.shape}, dtype {out.dtype}: return real marginals of shape {shape}"
        raise TypeError(msg)
    out = np.asarray(out, dtype=np.float64)
    total = out.sum(axis=-1)
    off = float(np.abs(total - 1.0).max(initial=0.0))
    if not off <= LOOSE or float(out.min(initial=0.0)) < 0.0:  # written so that NaN is wrong
        what = (
            "values that are not finite"
            if not np.isfinite(off)
            else f"the negative probability {out.min():g}"
            if out.min() < 0
            else f"marginals that sum to {float(total.flat[np.argmax(np.abs(total - 1.0))]):.6g}"
        )
        msg = f"the model returned {what}: return probabilities over the tokens, not logits or weights"
        raise ValueError(msg)
    return np.asarray(out / total[..., None]) if off > TIGHT else out
