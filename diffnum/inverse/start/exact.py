r"""The closed form: an affine run and a quadratic loss, where every answer's gap is exact.

With :math:`F(\sigma z) = m + M z` and :math:`L = |Y - A x|^2 / 2\sigma_Y^2` the objective is
:math:`J^* + \tfrac{w}{2} (z - z^*)^T P (z - z^*)` with :math:`P = I + M^T A^T A M / w \sigma_Y^2`, and the law of least
free energy is :math:`N(z^*, P^{-1})`; that of another law q lies :math:`w\,\mathrm{KL}(q \,\|\, N(z^*, P^{-1}))` above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from diffnum.inverse.operators import Linear
from diffnum.inverse.start.problem import StartProblem, misfit
from diffnum.plans import Plan
from diffnum.types import Denoiser, FloatArray

__all__ = ["ExactStart", "exact_start", "run_map"]

_TOLERANCE = 1e-8
"""Largest relative part of a run that may be left unexplained by an affine map."""


@dataclass(frozen=True, eq=False)
class ExactStart:
    """Least objective and law of least free energy of an affine run with a quadratic loss.

    Parameters
    ----------
    z : ndarray, shape (d,)
        Start of least objective, in standard normals; also the mean of the law.
    precision : ndarray, shape (d, d)
        Of the law.
    objective : float
        Least objective.
    weight : float
        Of the prior term.
    """

    z: FloatArray
    precision: FloatArray
    objective: float
    weight: float

    def gap(self, z: ArrayLike) -> float:
        """Objective of a start above the least one."""
        away = np.asarray(z, dtype=np.float64).ravel() - self.z
        return float(0.5 * self.weight * away @ self.precision @ away)

    def law_gap(self, mean: ArrayLike, factor: ArrayLike) -> float:
        """Free energy of the law of mean ``mean`` and covariance ``factor @ factor.T`` above the least one."""
        T = np.asarray(factor, dtype=np.float64)
        sizes = np.linalg.slogdet(self.precision)[1] + 2 * np.linalg.slogdet(T)[1]
        spread = np.trace(self.precision @ T @ T.T) - len(self.z) - sizes
        return self.gap(mean) + float(0.5 * self.weight * spread)

    @property
    def independent(self) -> FloatArray:
        """Factor of the best law with independent entries: the diagonal of the precision is kept."""
        return np.diag(1.0 / np.sqrt(np.diag(self.precision)))


def run_map(problem: StartProblem) -> tuple[FloatArray, FloatArray]:
    """Matrix M, shape (d, d), and offset m, shape (d,), of an affine run in standard normals.

    Parameters
    ----------
    problem : StartProblem
        Whose run; its loss is not used.

    Raises
    ------
    ValueError
        If the run is not affine.
    """
    d = problem.dimension
    probe = np.random.default_rng(0).standard_normal((2, d))
    z = np.concatenate([np.zeros((1, d)), np.eye(d), probe])
    found = problem.ends(z)
    ends = np.asarray(found.detach().cpu() if hasattr(found, "detach") else found, dtype=np.float64).reshape(len(z), -1)
    offset, matrix = ends[0], (ends[1 : d + 1] - ends[0]).T
    left = np.abs(offset + probe @ matrix.T - ends[d + 1 :]).max()
    if not left <= _TOLERANCE * max(np.abs(ends).max(), 1e-300):
        msg = (
            f"model: the run misses its affine map by {left:.2g}; the closed form is for the exact model of a Gaussian"
        )
        raise ValueError(msg)
    return matrix, offset


def exact_start(
    plan: Plan, model: Denoiser, op: Linear, y: ArrayLike, noise_std: float, *, weight: float = 1.0
) -> ExactStart:
    """Closed form of :func:`diffnum.inverse.optimise_start` for the loss :func:`diffnum.inverse.misfit`.

    Parameters
    ----------
    plan : Plan
        The run.
    model : Denoiser
        Exact model of a Gaussian, so that the run is affine.
    op, y, noise_std
        Of the loss.
    weight : float
        Of the prior term, > 0.

    Returns
    -------
    ExactStart

    Raises
    ------
    ValueError
        If the run is not affine, shapes do not fit, or the weight is not positive.
    """
    problem = StartProblem(plan, model, misfit(op, y, noise_std), np.zeros((1, *op.shape)), weight)
    if not weight > 0.0:
        msg = f"weight={weight!r}: the law of least free energy takes a weight > 0"
        raise ValueError(msg)
    matrix, offset = run_map(problem)
    seen = op.matrix @ matrix / noise_std
    residual = (np.asarray(y, dtype=np.float64).ravel() - op.matrix @ offset) / noise_std
    precision = np.eye(problem.dimension) + seen.T @ seen / weight
    z = np.linalg.solve(precision, seen.T @ residual) / weight
    objective = 0.5 * float(np.sum((residual - seen @ z) ** 2) + weight * z @ z)
    return ExactStart(np.asarray(z), precision, objective, float(weight))
