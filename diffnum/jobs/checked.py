"""What public entries ask of their arguments before they look inside: a schedule, a model, one of some words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

__all__ = [
    "check_callable",
    "check_count",
    "check_model",
    "check_name",
    "check_names",
    "check_number",
    "check_plan",
    "check_schedule",
    "check_shape",
]


def check_schedule(schedule: Any, name: str = "schedule") -> None:
    """Refuse what is no noising process.

    Raises
    ------
    TypeError
        With what to pass.
    """
    if not callable(getattr(schedule, "half_log_snr", None)):
        msg = f"{name}={_short(schedule)}: pass a schedule, such as diffnum.schedules.VPLinear()"
        raise TypeError(msg)


def check_model(model: Any, name: str = "model") -> None:
    """Refuse what is no model of a prediction.

    Raises
    ------
    TypeError
        With what to pass.
    """
    if not callable(model) or getattr(model, "prediction", None) is None:
        msg = (
            f"{name}={_short(model)} is no model: pass problem.denoiser(schedule), dn.load(...), or a callable "
            "model(x, t) with the attribute prediction"
        )
        raise TypeError(msg)


def check_plan(plan: Any, name: str = "plan") -> None:
    """Refuse what is no plan, such as the name of a method.

    Raises
    ------
    TypeError
        With what to pass.
    """
    if not (hasattr(plan, "steps") and hasattr(plan, "schedule") and hasattr(plan, "programme")):
        msg = f"{name}={_short(plan)} is a {type(plan).__name__}: pass dn.plan(method, schedule, grid)"
        raise TypeError(msg)


def check_callable(name: str, value: Any, wanted: str) -> None:
    """Refuse what cannot be called.

    Raises
    ------
    TypeError
        With what to pass.
    """
    if not callable(value):
        msg = f"{name}={_short(value)} is a {type(value).__name__}: pass {wanted}"
        raise TypeError(msg)


def check_number(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf, *, closed: bool = True
) -> float:
    """Refuse what is no finite real number in [low, high], or (low, high).

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is outside.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        msg = f"{name}={_short(value)} is a {type(value).__name__}: pass a number"
        raise TypeError(msg)
    found = float(value)
    if not math.isfinite(found) or not (low <= found <= high if closed else low < found < high):
        signs = (">=", "<=") if closed else (">", "<")
        limits = [f"{s} {b:g}" for s, b in zip(signs, (low, high), strict=True) if math.isfinite(b)]
        msg = f"{name}={value!r}: pass a finite number{' ' if limits else ''}{' and '.join(limits)}"
        raise ValueError(msg)
    return found


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Refuse what is no whole number of at least ``least``.

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If it is smaller.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        msg = f"{name}={_short(value)} is a {type(value).__name__}: pass a whole number >= {least}"
        raise TypeError(msg)
    if value < least:
        msg = f"{name}={value}: pass a whole number >= {least}"
        raise ValueError(msg)
    return int(value)


def check_shape(shape: Any, name: str = "shape") -> tuple[int, ...]:
    """Refuse what is no shape of one sample.

    Raises
    ------
    TypeError
        If it is no sequence of whole numbers.
    ValueError
        If one of them is less than 1.
    """
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        msg = f"{name}={_short(shape)} is a {type(shape).__name__}: pass a tuple, such as (2,)"
        raise TypeError(msg)
    return tuple(check_count(f"{name}[{i}]", n) for i, n in enumerate(shape))


def check_name(name: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a word that is none of those known.

    Raises
    ------
    ValueError
        With those that are.
    """
    listed = tuple(known)
    if not isinstance(value, str) or value not in listed:
        msg = f"{name}={_short(value)} is unknown: use one of {', '.join(listed)}"
        raise ValueError(msg)


def check_names(name: str, values: Any, known: Iterable[str]) -> None:
    """Refuse a sequence of words of which one is none of those known, or that is one word or empty.

    Raises
    ------
    TypeError
        If it is a single word.
    ValueError
        If a word is unknown, or there is none.
    """
    listed = tuple(known)
    if isinstance(values, str):
        msg = f"{name}={values!r} is one word: pass a sequence, such as ({listed[0]!r},)"
        raise TypeError(msg)
    words = tuple(values)
    if not words:
        msg = f"{name} is empty: use one or more of {', '.join(listed)}"
        raise ValueError(msg)
    for word in words:
        check_name(name, word, listed)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"<{type(value).__name__}>"
