r"""Local error and stiffness of the probability flow along its run: the estimates of a solver as diagnostics.

Regularisation by solver heuristics (Pal et al. 2023, arXiv:2303.02262) penalises a network by the embedded error
estimate of one Runge-Kutta step at a *random* time, or by Shampine's stiffness ratio ``|f(y) - f(y')| / |y - y'|`` of
two stages at the same time. The random time makes the penalty an unbiased estimate of the integral over the run (their
code: avik-pal/LocalRegNeuralDE.jl at 12a261ea, src/layers/neural_ode.jl, ``unbiased``); drawn from the solver's own
steps instead (``biased``) it weighs times by how densely the solver steps. Here the pair is Dormand and Prince's, of
SciPy, where theirs is Tsitouras's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import RK45

from diffnum.distillation.maps import FlowMap
from diffnum.types import FloatArray

__all__ = ["DifficultyProfile", "difficulty_profile"]


class Estimates(NamedTuple):
    """What one step says of itself."""

    error: float
    stiffness: float


@dataclass(frozen=True, eq=False)
class DifficultyProfile:
    """Estimates along the exact flow; made by :func:`difficulty_profile`.

    Attributes
    ----------
    times : ndarray, shape (k,)
    error : ndarray, shape (k,)
        Root mean square of the embedded error estimate of one step from each time.
    stiffness : ndarray, shape (k,)
        Root mean square quotient of the change of the velocity to that of the state between the last two stages.
    """

    times: FloatArray
    error: FloatArray
    stiffness: FloatArray

    def mean(self, what: str = "error", density: ArrayLike | None = None) -> float:
        """Expectation at a random time, uniform over the run by default, by the trapezoid rule.

        Parameters
        ----------
        what : {"error", "stiffness"}
            Which estimate.
        density : array_like, shape (k,), optional
            Density of the random time, up to a factor: that of a solver's steps shows the bias of drawing from them.

        Returns
        -------
        float
        """
        if what not in ("error", "stiffness"):
            msg = f"what={what!r} is not estimated: use 'error' or 'stiffness'"
            raise ValueError(msg)
        p = np.ones_like(self.times) if density is None else np.asarray(density, dtype=np.float64)
        values = self.error if what == "error" else self.stiffness
        return float(np.trapezoid(p * values, self.times) / np.trapezoid(p, self.times))


def difficulty_profile(flow: FlowMap, x: FloatArray, times: ArrayLike, step: float) -> DifficultyProfile:
    """Embedded error and stiffness of steps of one length along the exact trajectories of some states.

    Parameters
    ----------
    flow : FlowMap
        Exact flow.
    x : ndarray, shape (n, d)
        States at ``times[0]``.
    times : array_like, shape (k,)
        Times, monotone, at least ``step`` inside the domain where the steps go.
    step : float
        Length of each step, positive; it goes towards ``times[-1]``.

    Returns
    -------
    DifficultyProfile

    Raises
    ------
    ValueError
        If times are not monotone or the step is not positive.
    """
    nodes = np.asarray(times, dtype=np.float64)
    gaps = np.diff(nodes)
    if nodes.ndim != 1 or len(nodes) < 2 or not (np.all(gaps > 0.0) or np.all(gaps < 0.0)):
        msg = "times is not monotone: use at least two times, all rising or all falling"
        raise ValueError(msg)
    if not step > 0.0:
        msg = f"step={step!r}: use a positive length"
        raise ValueError(msg)
    signed = float(np.sign(gaps[0]) * step)
    found = [_estimates(flow, flow(x, float(nodes[0]), t), t, signed) for t in nodes.tolist()]
    return DifficultyProfile(nodes, np.array([f.error for f in found]), np.array([f.stiffness for f in found]))


def _estimates(flow: FlowMap, y: FloatArray, t: float, h: float) -> Estimates:
    stages: list[FloatArray] = []
    for row, c in zip(RK45.A, RK45.C, strict=True):
        moved = y + h * sum((a * k for a, k in zip(row, stages, strict=False)), np.zeros_like(y))
        stages.append(flow.velocity(moved, t + c * h))
    last = y + h * sum((b * k for b, k in zip(RK45.B, stages, strict=True)), np.zeros_like(y))
    gap = last - moved
    stages.append(flow.velocity(last, t + h))
    error = h * sum((e * k for e, k in zip(RK45.E, stages, strict=True)), np.zeros_like(y))
    change = stages[-1] - stages[-2]
    stiffness = np.linalg.norm(change) / max(float(np.linalg.norm(gap)), np.finfo(np.float64).tiny)
    return Estimates(float(np.sqrt(np.mean(error**2))), float(stiffness))
