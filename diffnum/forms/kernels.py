"""Kernels: the moments of a step in the clock of a form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import factorial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffnum.phi import phi
from diffnum.types import FloatArray, Scalar, Schedule

__all__ = ["RULES", "ExponentialKernel", "Kernel", "Nodes", "Quadrature", "TabulatedKernel", "time_kernel"]


class Kernel(Protocol):
    """Weight of the integral over one step; what a step rule knows of the form."""

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        """Integral of ``kernel(s) s^k`` over the first ``fraction`` of the step, s in steps."""

    def discount(self, fraction: Scalar = 1) -> Scalar:
        """``|gain|/scale`` at ``fraction`` of the step over its value at the start."""


@dataclass(frozen=True)
class ExponentialKernel:
    r"""Kernel :math:`h e^{\kappa h (c - s)}` of the forms with a fixed growth rate.

    Parameters
    ----------
    step : scalar or array
        Step length ``h`` in the clock of the form.
    rate : int
        Growth rate kappa: -1 data, +1 noise, 0 for the clocks that are integrating variables themselves.
    """

    step: Scalar
    rate: int

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        r""":math:`h \int_0^c e^{\kappa h (c - s)} s^k ds = h\, c^{k+1} k!\, \varphi_{k+1}(\kappa c h)`."""
        if self.rate == 0:
            return self.step * fraction ** (k + 1) / (k + 1)
        return self.step * fraction ** (k + 1) * factorial(k) * phi(k + 1, self.rate * fraction * self.step)

    def discount(self, fraction: Scalar = 1) -> Scalar:
        r"""``|gain|/scale`` grows by :math:`e^{-\kappa c h}`."""
        return phi(0, -self.rate * fraction * self.step) if self.rate else 1


@dataclass(frozen=True)
class TabulatedKernel:
    """Kernel known by its moments over whole steps only, as in the time clock.

    Parameters
    ----------
    moments : tuple of scalars or arrays
        ``moments[k]`` is the integral of ``kernel(s) s^k`` over the step.
    """

    moments: tuple[Scalar, ...]

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        """Tabulated moment; stages inside the step are not available."""
        if not (isinstance(fraction, int) and fraction == 1):
            msg = (
                f"fraction={fraction!r}: the time clock and Riemann sums have no closed moments inside a step; "
                "use a method without inner stages, or the rho clock"
            )
            raise ValueError(msg)
        return self.moments[k]

    def discount(self, fraction: Scalar = 1) -> Scalar:  # noqa: ARG002
        """One: the clock map is the moment of order zero itself."""
        return 1


@cache
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """64-point Gauss-Legendre rule on [-1, 1]."""
    from numpy.polynomial.legendre import leggauss  # kept out of the import of the coefficient functions

    return leggauss(64)


def time_kernel(schedule: Schedule, start: Nodes, end: Nodes, count: int) -> TabulatedKernel:
    r"""Moments :math:`\int_0^1 s^k\, d\rho` of the time clock, s = (t - t_0)/(t_1 - t_0), rho = sigma/alpha.

    Integrated over the half-log-SNR, in which the integrand is analytic for every closed-form schedule, by 64-point
    Gauss-Legendre: the whole default range in one step to rounding. Over time itself the integrand has a square-root
    singularity at the data end of VP schedules. Steps are cut where the schedule says that it has kinks (``breaks``:
    the labels of a table with ``interpolation="linear"``); at the kink of clipped betas the moments are good to 1e-9.

    Parameters
    ----------
    schedule : Schedule
        Gives the time of a half-log-SNR.
    start, end : Nodes
        Ends of the steps, arrays of shape (m,).
    count : int
        Number of moments, k = 0, ..., count - 1.

    Returns
    -------
    TabulatedKernel
    """
    points, weights = _quadrature()
    cuts, steps = _cuts(schedule, start, end)
    half = 0.5 * (cuts[:, 1] - cuts[:, 0])
    lam = cuts[:, 0] + half * (1.0 + points[:, None])
    at = start[steps]
    s = (schedule.time(lam) - at.t) / (end.t[steps] - at.t)
    # rho relative to its value at the start keeps the differences of a short step exact
    density = -weights[:, None] * half * np.exp(at.lam - lam) * (at.sigma / at.alpha)
    first = np.searchsorted(steps, np.arange(len(start.lam)))
    return TabulatedKernel(tuple(np.add.reduceat((density * s**k).sum(axis=0), first) for k in range(count)))


def _cuts(schedule: Schedule, start: Nodes, end: Nodes) -> tuple[FloatArray, NDArray[np.intp]]:
    """Pieces of steps as half-log-SNRs of their ends, shape (pieces, 2), and the number of the step of each."""
    kinks = np.asarray(getattr(schedule, "breaks", ()), dtype=np.float64)
    pieces, steps = [], []
    for i, (begin, finish) in enumerate(zip(start.t, end.t, strict=True)):
        inside = np.sort(kinks[(kinks < begin) & (kinks > finish)])[::-1]
        lam = np.concatenate([start.lam[i : i + 1], schedule.half_log_snr(inside), end.lam[i : i + 1]])
        pieces.append(np.stack([lam[:-1], lam[1:]], axis=1))
        steps.append(np.full(len(lam) - 1, i))
    return np.concatenate(pieces), np.concatenate(steps)


RULES = ("left", "closed")
"""Riemann sums: left ends of equal cells, or equally spaced points with both ends, each with the weight of a cell."""


@dataclass(frozen=True)
class Quadrature:
    """A Riemann sum over a step, for reproducing codes that compute their moments so.

    Parameters
    ----------
    cells : int
        Number of points, at least 2.
    rule : {"left", "closed"}
        Left ends of equal cells (DEIS), or points that include both ends (diff-sampler); the weight is 1/cells in both.
    """

    cells: int = 10000
    rule: str = "left"

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            msg = f"rule={self.rule!r} is unknown: use one of {', '.join(RULES)}"
            raise ValueError(msg)
        if isinstance(self.cells, bool) or not isinstance(self.cells, int) or self.cells < 2:
            msg = f"cells={self.cells!r} is no number of cells: give a whole number of at least 2"
            raise ValueError(msg)

    def kernel(self, density: Callable[[FloatArray], FloatArray], count: int) -> TabulatedKernel:
        """Sums of ``density(s) s^k`` for k = 0, ..., count - 1, with s of shape (cells, 1) in steps."""
        s = np.linspace(0.0, 1.0, self.cells, endpoint=self.rule == "closed")[:, None]
        values = density(s) / self.cells
        return TabulatedKernel(tuple((values * s**k).sum(axis=0) for k in range(count)))


@dataclass(frozen=True)
class Nodes:
    """Times with everything a form needs there; float64 arrays of one shape.

    Parameters
    ----------
    t, alpha, sigma, lam : ndarray
        Time, signal factor, noise standard deviation, half-log-SNR (natural log of alpha/sigma).
    """

    t: FloatArray
    alpha: FloatArray
    sigma: FloatArray
    lam: FloatArray

    @classmethod
    def at(cls, schedule: Schedule, t: FloatArray, lam: FloatArray | None = None) -> Nodes:
        """Nodes of a schedule at times ``t``; ``lam`` where the caller knows it more accurately."""
        t = np.asarray(t, dtype=np.float64)
        lam = schedule.half_log_snr(t) if lam is None else np.asarray(lam, dtype=np.float64)
        return cls(t, schedule.alpha(t), schedule.sigma(t), lam)

    def __getitem__(self, index: Any) -> Nodes:
        """Select nodes."""
        return Nodes(self.t[index], self.alpha[index], self.sigma[index], self.lam[index])
