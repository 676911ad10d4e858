"""What public entries ask of their arguments before they look inside: a schedule, a model, one of some words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["check_model", "check_name", "check_names", "check_schedule"]


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
