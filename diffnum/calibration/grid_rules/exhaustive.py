"""Every grid of a small lattice: the referee of all other rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

from diffnum.calibration.grid_rules.task import GridTask
from diffnum.types import FloatArray

__all__ = ["Ranked", "enumerated", "exhaustive"]

_LARGEST = 20_000


@dataclass(frozen=True, eq=False)
class Ranked:
    """A grid of the lattice.

    Parameters
    ----------
    path : tuple of int
        Its candidates.
    levels : ndarray, shape (steps + 1,)
        Their half-log-SNRs.
    value : float
        Objective, the endpoint error by default.
    """

    path: tuple[int, ...]
    levels: FloatArray
    value: float


def exhaustive(task: GridTask) -> FloatArray:
    """The grid of least endpoint error among the candidates.

    Parameters
    ----------
    task : GridTask
        The question, with few candidates.

    Returns
    -------
    ndarray, shape (steps + 1,)
        Half-log-SNRs.

    Raises
    ------
    ValueError
        If there are more than 20000 grids.
    """
    return enumerated(task)[0].levels


def enumerated(task: GridTask, objective: Callable[[FloatArray], float] | None = None) -> list[Ranked]:
    """All grids of the lattice, best first.

    Parameters
    ----------
    task : GridTask
        The question.
    objective : callable, optional
        Function of half-log-SNRs to be made small; the endpoint error of the method by default.

    Returns
    -------
    list of Ranked

    Raises
    ------
    ValueError
        If the candidates have too many grids.
    """
    count = comb(len(task.levels) - 2, task.steps - 1)
    if count > _LARGEST:
        msg = f"{len(task.levels)} candidates have {count} grids of {task.steps} steps: take fewer candidates"
        raise ValueError(msg)
    judge = task.error if objective is None else objective
    return sorted((Ranked(p, task.levels[list(p)], judge(task.levels[list(p)])) for p in _paths(task)), key=_value)


def _paths(task: GridTask) -> Iterator[tuple[int, ...]]:
    last = len(task.levels) - 1
    return ((0, *inner, last) for inner in combinations(range(1, last), task.steps - 1))


def _value(ranked: Ranked) -> float:
    return ranked.value
