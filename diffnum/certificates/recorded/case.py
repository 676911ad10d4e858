"""A recorded case, and the plans that its replay makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from diffnum.plans import Plan, plan

__all__ = ["Case", "planned", "watched"]

Case: TypeAlias = Mapping[str, Any]
"""One JSON record of the format golden-v1."""

_NAMES: ContextVar[list[str] | None] = ContextVar("_NAMES", default=None)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Names of the methods for which plans are made, in a list that grows inside the ``with`` block.

    Returns
    -------
    iterator
    """
    names: list[str] = []
    token = _NAMES.set(names)
    try:
        yield names
    finally:
        _NAMES.reset(token)


def planned(*args: Any, **options: Any) -> Plan:
    """Make a plan as :func:`diffnum.plans.plan` does, and tell who watches."""
    made = plan(*args, **options)
    names = _NAMES.get()
    if names is not None:
        names.append(made.method)
    return made
