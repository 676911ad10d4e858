"""Which states to keep on the way out, so that a run can be gone back with few of them and few repetitions.

Going back over l steps needs the state before each, the last one first. With c states kept at a time, at most
``C(c + r, c)`` steps can be gone back if no step is repeated more than r times, and the bound is attained.

References
----------
Griewank 1992, Achieving logarithmic growth of temporal and spatial complexity in reverse automatic differentiation;
Griewank and Walther 2000, algorithm 799 (revolve).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import comb, isqrt
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Advance", "Visit", "binomial", "fewest_repetitions", "going_back", "square_root"]

Advance: TypeAlias = Callable[[int, int], int]
"""``advance(length, kept)``: how far to go before the next state is kept, of ``length`` steps, with ``kept`` states."""


class Visit(NamedTuple):
    """One instruction: start from the state kept before step ``kept``, and go to the one before step ``to``.

    Parameters
    ----------
    what : {"keep", "back", "drop"}
        Keep the state found; or go back over step ``to``; or forget the state kept before ``to``.
    kept, to : int
        Numbers of steps.
    """

    what: Literal["keep", "back", "drop"]
    kept: int
    to: int


def binomial(length: int, kept: int) -> int:
    """Advance with the fewest repetitions, for at least 2 steps and 1 state."""
    repetitions = _repetitions(length, kept)
    return max(_reach(kept, repetitions - 2), length - _reach(kept - 1, repetitions), 1)


def square_root(steps: int) -> Advance:
    """Keep about the square root of all states first, then all of one stretch: each step is repeated at most twice."""
    stretch = isqrt(max(steps - 1, 0)) + 1
    return lambda length, kept: stretch if length > stretch else 1  # noqa: ARG005


def fewest_repetitions(length: int, kept: int) -> int:
    """Steps done only to find states again: ``r l - C(c + r, c + 1)``, r the least with ``l <= C(c + r, c)``."""
    repetitions = _repetitions(length, kept)
    return repetitions * length - comb(kept + repetitions, kept + 1)


def going_back(first: int, last: int, spare: int, advance: Advance = binomial) -> Iterator[Visit]:
    """Instructions that go back over the steps ``first``, ..., ``last - 1``, the last one first.

    Parameters
    ----------
    first, last : int
        Range of steps; the state before ``first`` is kept already.
    spare : int
        States that may be kept besides, at least 0.
    advance : callable
        Where the states are kept.
    """
    if last - first == 1 or spare == 0:
        yield from (Visit("back", first, step) for step in reversed(range(first, last)))
        return
    middle = first + advance(last - first, spare + 1)
    yield Visit("keep", first, middle)
    yield from going_back(middle, last, spare - 1, advance)
    yield Visit("drop", first, middle)
    yield from going_back(first, middle, spare, advance)


def _reach(kept: int, repetitions: int) -> int:
    """Steps that can be gone back with so many states and repetitions."""
    return comb(kept + repetitions, kept) if repetitions >= 0 else 0


def _repetitions(length: int, kept: int) -> int:
    """Fewest repetitions of a step that suffice."""
    repetitions = 0
    while _reach(kept, repetitions) < length:
        repetitions += 1
    return repetitions
