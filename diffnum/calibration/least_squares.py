"""Levenberg-Marquardt within bounds, on the normal equations of problems with few unknowns and many residuals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diffnum.types import FloatArray

__all__ = ["Iterate", "LeastSquares", "levenberg_marquardt"]


class LeastSquares(Protocol):
    """A sum of squares, known through its value and its normal equations."""

    def loss(self, theta: FloatArray) -> float:
        """Sum of squares; infinite where it does not exist."""

    def linearise(self, theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Sum of squares r.r with J^T r, shape (p,), and J^T J, shape (p, p)."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """Where the iteration stands.

    Parameters
    ----------
    theta : ndarray, shape (p,)
        Unknowns.
    loss : float
        Sum of squares there.
    damping : float
        Marquardt's parameter for the next step.
    number : int
        Steps taken so far.
    idle : int
        Steps in a row that gained next to nothing.
    """

    theta: FloatArray
    loss: float
    damping: float
    number: int = 0
    idle: int = 0


def levenberg_marquardt(
    problem: LeastSquares,
    start: Iterate,
    bounds: tuple[FloatArray, FloatArray],
    *,
    iterations: int,
    tolerance: float = 1e-3,
) -> Iterator[Iterate]:
    r"""Yield each better point.

    The step solves :math:`(J^T J + \mu D)\, \delta = -J^T r` with D the diagonal of :math:`J^T J` (Marquardt's
    scaling), over the unknowns that are not held by a bound; :math:`\mu` follows the ratio of what was gained to what
    the linear model had promised.

    Parameters
    ----------
    problem : LeastSquares
        What is to be made small.
    start : Iterate
        From :class:`Iterate`; an earlier run goes on from its last one, with the same numbers.
    bounds : tuple of two ndarrays, shape (p,)
        Least and greatest values.
    iterations : int
        Steps in all, those of an earlier run included.
    tolerance : float
        Stops when two steps in a row gain less than this share of the loss.

    References
    ----------
    Marquardt, SIAM J. Appl. Math. 11 (1963) 431; damping rule: Nielsen, IMM-REP-1999-05, eq. 2.5.
    """
    low, high = bounds
    now = start
    while now.number < iterations and now.idle < 2:
        loss, gradient, gram = problem.linearise(now.theta)
        diagonal = np.maximum(np.diag(gram), 1e-12 * max(float(np.diag(gram).max()), 1e-300))
        held = ((now.theta <= low) & (gradient > 0)) | ((now.theta >= high) & (gradient < 0))
        found = _step(problem, now, loss, gradient, gram, diagonal, ~held, bounds)
        if found is None:
            return
        gained = 1.0 - found.loss / loss if loss > 0 else 0.0
        now = replace(found, idle=now.idle + 1 if gained < tolerance else 0)
        yield now


def _step(
    problem: LeastSquares,
    now: Iterate,
    loss: float,
    gradient: FloatArray,
    gram: FloatArray,
    diagonal: FloatArray,
    free: NDArray[np.bool_],
    bounds: tuple[FloatArray, FloatArray],
) -> Iterate | None:
    """Next better point, or None where damping does not find one."""
    damping, growth = now.damping, 2.0
    index = np.flatnonzero(free)
    while damping < 1e10:
        system = gram[np.ix_(index, index)] + np.diag(damping * diagonal[index])
        step = np.zeros_like(now.theta)
        # least squares, not solve: unknowns that do nothing make the system singular
        step[index] = -np.linalg.lstsq(system, gradient[index], rcond=1e-14)[0]
        theta = np.clip(now.theta + step, *bounds)
        taken = theta - now.theta
        promised = -2.0 * float(gradient @ taken) - float(taken @ gram @ taken)
        trial = problem.loss(theta)
        ratio = (loss - trial) / promised if promised > 0 and np.isfinite(trial) else -1.0
        if ratio > 1e-4:
            return Iterate(theta, trial, max(damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3), 1e-12), now.number + 1)
        damping, growth = damping * growth, 2.0 * growth
    return None
