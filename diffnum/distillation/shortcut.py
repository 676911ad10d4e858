r"""Shortcut models: a long step is two half steps.

``u(x, t, r)`` is regressed on the mean of ``u(x, t, m)`` and ``u(x', m, r)`` at the midpoint m, ``x' = x - (t - m)
u(x, t, m)``, held still (Frans et al. 2024, arXiv:2410.12557). The second half step is taken at its own
time: the paper's formula prints the first time for both, which baba-y-jp/smodel (README) reported first. The identity
alone has many solutions (u = 0 is one): flow matching at equal times, which is part of the loss, picks the flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.quadrature import Pairs
from diffnum.distillation.students import FeatureStudent, RegressionTerms, checked_levels, stacked, still
from diffnum.schedules import check_time
from diffnum.types import FloatArray

__all__ = ["ShortcutLoss", "shortcut"]


@dataclass(frozen=True, eq=False)
class ShortcutLoss:
    """Loss of shortcut models; made by :func:`shortcut`.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    levels : tuple of (float, float)
        Pairs of times (t, r), r below t: the long steps.
    instants : tuple of float
        Times of the flow-matching part.
    """

    schedule: Any
    levels: tuple[tuple[float, float], ...]
    instants: tuple[float, ...]

    def terms(self, student: FeatureStudent, pairs: Pairs) -> RegressionTerms:
        """See :class:`diffnum.distillation.RegressionLoss`."""
        count = len(self.levels) + len(self.instants)
        parts = [self._halves(student, pairs, t, r, pairs.weights / count) for t, r in self.levels]
        for t in self.instants:
            x = pairs.at(self.schedule, t)
            basis = student.basis(x, t, t)
            v = pairs.conditional_velocity(self.schedule, t)
            parts.append(RegressionTerms(basis @ student.coefficients, v, pairs.weights / count, basis, still(student)))
        return stacked(parts)

    def _halves(
        self, student: FeatureStudent, pairs: Pairs, t: float, r: float, weights: FloatArray
    ) -> RegressionTerms:
        x, m = pairs.at(self.schedule, t), 0.5 * (t + r)
        basis, late = student.basis(x, t, r), student.basis(x, t, m)
        first = late @ student.coefficients
        there = x - (t - m) * first
        early, turn = student.basis(there, m, r), student.jacobian(there, m, r)

        def pull(force: FloatArray) -> FloatArray:
            carried = force - (t - m) * np.einsum("nij,ni->nj", turn, force)
            return np.asarray(0.5 * (late.T @ carried + early.T @ force))

        targets = 0.5 * (first + early @ student.coefficients)
        return RegressionTerms(basis @ student.coefficients, targets, weights, basis, pull)


def shortcut(schedule: Any, levels: ArrayLike, instants: ArrayLike = ()) -> ShortcutLoss:
    """Loss of shortcut models.

    Parameters
    ----------
    schedule : Schedule
        Noising process; the paper's is ``FlowMatching()``, with time counted from noise to data.
    levels : array_like, shape (k, 2)
        Pairs of times (t, r), r below t: the long steps.
    instants : array_like, shape (m,)
        Times of the flow-matching part.

    Returns
    -------
    ShortcutLoss

    Raises
    ------
    ValueError
        If times are out of order or outside the domain.
    """
    moments = np.asarray(instants, dtype=np.float64).ravel()
    check_time(schedule, moments, "instants")
    return ShortcutLoss(schedule, tuple(checked_levels(levels, "t", "r", schedule)), tuple(moments.tolist()))
