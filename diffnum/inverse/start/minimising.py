"""The one minimiser of smooth functions that the answers share: L-BFGS, with what it cost along the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffnum.inverse.start.problem import StartProblem
from diffnum.inverse.start.record import Curve
from diffnum.types import FloatArray

__all__ = ["minimised"]

MEMORY = 20
"""Pairs of steps and gradients that the minimiser keeps."""

_REASONS = {
    0: "converged",
    1: "{} iterations as asked",
    2: "no step makes it smaller: what is left is rounding of the model, or a gradient that is not that of the loss",
}


def minimised(
    function: Callable[[FloatArray], tuple[float, FloatArray]],
    first: FloatArray,
    iterations: int,
    problem: StartProblem,
) -> tuple[FloatArray, Curve, str]:
    """Least value that L-BFGS finds from a point.

    Parameters
    ----------
    function : callable
        Value and gradient at a point.
    first : ndarray, shape (p,)
        Where it begins.
    iterations : int
        Most iterations.
    problem : StartProblem
        Whose evaluations are told along the curve.

    Returns
    -------
    tuple
        Point, curve, and why it stopped.
    """
    from scipy.optimize import minimize  # kept out of the import of the package

    best: list[tuple[float, FloatArray]] = []
    curve: list[tuple[int, float]] = []

    def told(point: FloatArray) -> tuple[float, FloatArray]:
        value, slope = function(point)
        if not best or value < best[0][0]:
            best[:] = [(value, np.array(point))]
        curve.append((problem.evaluations, best[0][0]))
        return value, slope

    found = minimize(
        told, first, jac=True, method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 10 * iterations, "maxcor": MEMORY, "ftol": 0.0, "gtol": 1e-10},
    )  # fmt: skip
    return best[0][1], tuple(curve), _REASONS.get(found.status, str(found.message)).format(iterations)
