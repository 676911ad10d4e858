"""Theorems of families: what a method is equal to, and for which of its parameters. One file a stem."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from diffnum.derivation import Identity
from diffnum.jobs.stems import gathered
from diffnum.proofs.steps import Case

__all__ = ["THEOREMS", "theorems_of"]

THEOREMS: Final[Mapping[str, Callable[[Case], Iterator[Identity]]]] = gathered(__name__, __path__, "THEOREMS")
"""Family -> theorems on a method of it, from its step at full order."""


def theorems_of(top: Case) -> Iterator[Identity]:
    """What is known of a method beyond its weights and its order, from its step at full order.

    Parameters
    ----------
    top : Case
        The method, and its step at full order.

    Yields
    ------
    Identity
    """
    if top.record.family in THEOREMS:
        yield from THEOREMS[top.record.family](top)
