"""Refine until decided: the one loop of all order studies, and the numbers of steps that it tries, as a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from diffnum.convergence.rate import RateEstimate
from diffnum.types import FloatArray

__all__ = ["Estimator", "Ladder", "Run", "check_levels", "refined"]

Run: TypeAlias = Callable[[int], FloatArray]
"""Errors of a run with so many steps, shape () or (points,)."""

Estimator: TypeAlias = Callable[[Sequence[int], Any], RateEstimate]
"""Rate of errors, shape (levels,) or (levels, points), over levels; :func:`~.rate.estimate_rate` with its settings."""


@dataclass(frozen=True)
class Ladder:
    """Numbers of steps that a measurement tries.

    Parameters
    ----------
    base : tuple of int
        The first ones, all of them.
    finer : tuple of int
        Added one by one while the data do not decide.
    coarser : tuple of int
        Tried instead where rounding hides some of the first: beside those, then alone.
    past_divergence : bool
        Whether to go on where the finest run diverges: a stiff one may settle on shorter steps.
    """

    base: tuple[int, ...]
    finer: tuple[int, ...] = ()
    coarser: tuple[int, ...] = ()
    past_divergence: bool = False

    @classmethod
    def doubling(cls, base: Sequence[int], times: int) -> Ladder:
        """First levels, and so many doublings of the finest.

        Parameters
        ----------
        base : sequence of int
            The first ones.
        times : int
            Doublings, at least 0.

        Returns
        -------
        Ladder
        """
        return cls(tuple(base), tuple(base[-1] << k for k in range(1, times + 1)))

    def shifted(self, by: int) -> Ladder:
        """The same ladder with ``by`` steps more on every level."""
        base, finer, coarser = (tuple(n + by for n in part) for part in (self.base, self.finer, self.coarser))
        return Ladder(base, finer, coarser, self.past_divergence)

    def undecided(self, found: RateEstimate) -> bool:
        """Whether a finer level may decide what is not decided; below rounding none does."""
        if found.status == "diverging":
            return self.past_divergence
        return found.order is None and found.status not in ("exact", "floor")


def refined(run: Run, ladder: Ladder, estimate: Estimator) -> RateEstimate:
    """Rate over as many levels as decide.

    Parameters
    ----------
    run : callable
        Errors of a run with so many steps; asked once for each.
    ladder : Ladder
        The levels. An error that changes its sign, or a rate between two orders, settles later.
    estimate : callable
        Rate of errors over levels.

    Returns
    -------
    RateEstimate
        The first that is decided, with an order; else that of the last levels tried.
    """
    errors: dict[int, FloatArray] = {}

    def over(levels: Sequence[int]) -> RateEstimate:
        for n in levels:
            if n not in errors:
                errors[n] = run(n)
        return estimate(levels, np.stack([errors[n] for n in levels]))

    found = over(ladder.base)
    if ladder.coarser and _hidden_by_rounding(found):
        for levels in (tuple(sorted({*ladder.coarser, *ladder.base})), ladder.coarser):
            if (coarse := over(levels)).status == "decided":
                return coarse
        return found
    for count in range(1, len(ladder.finer) + 1):
        if not ladder.undecided(found):
            break
        found = over((*ladder.base, *ladder.finer[:count]))
    return found


def _hidden_by_rounding(found: RateEstimate) -> bool:
    """Whether nothing is decided and rounding took levels away."""
    undecided = found.order is None and found.status != "diverging"
    return found.status == "floor" or (undecided and "floor" in found.notes)


def check_levels(steps: Any) -> None:
    """Refuse step counts from which no rate can be read.

    Raises
    ------
    ValueError
        If they are not two or more whole numbers that increase.
    """
    given = list(steps) if isinstance(steps, Iterable) and not isinstance(steps, str) else []
    counts = [k for k in given if isinstance(k, int | np.integer)]
    if len(counts) < 2 or len(counts) != len(given) or min(counts) < 1 or any(b <= a for a, b in pairwise(counts)):
        msg = f"steps={steps!r}: pass two or more whole numbers > 0 that increase, such as (20, 40, 80, 160)"
        raise ValueError(msg)
