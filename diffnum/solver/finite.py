"""Whether a state is made of finite numbers, which every host of the loop asks of the last one at least."""

from __future__ import annotations

from array_api_compat import array_namespace

from diffnum.types import Array

__all__ = ["check_last", "first_bad_sample", "is_finite"]


def is_finite(x: Array) -> bool:
    """Whether every entry is finite."""
    return bool(array_namespace(x).isfinite(x).all())


def first_bad_sample(x: Array) -> str:
    """Words for the first sample that is not finite, empty for what has no samples."""
    finite = array_namespace(x).isfinite(x).reshape(x.shape[0], -1).all(axis=1) if x.ndim else None
    return "" if finite is None else f"in sample {[bool(f) for f in finite].index(False)}"


def check_last(what: str, x: Array, remedy: str) -> None:
    """Refuse a result that is not finite.

    Parameters
    ----------
    what : str
        What the message calls it.
    x : array, shape (batch, ...)
        The result.
    remedy : str
        What the caller may do.

    Raises
    ------
    ValueError
        If an entry is NaN or infinite, naming the first sample that has one.
    """
    if not is_finite(x):
        msg = f"{what} is not finite {first_bad_sample(x)}: {remedy}"
        raise ValueError(msg)
