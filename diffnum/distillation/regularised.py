r"""Flow matching with a solver's own error estimate as a penalty: easier to integrate, and no longer the flow.

The loss is ``E|v_theta - v|^2 + strength E_t[rms(e_theta)]`` where ``e_theta`` is the embedded error estimate of one
step of a Runge-Kutta pair along the *student's* velocity from a noisy state of time t (Pal et al. 2023,
arXiv:2303.02262; avik-pal/LocalRegNeuralDE.jl at 12a261ea, src/perform_step.jl). They draw one time in each iteration;
here the mean over times is taken, whose expectation is the same. The pair is Dormand and Prince's, of SciPy, as in
:func:`~diffnum.distillation.difficulty_profile`; theirs is Tsitouras's. The gradient goes through all stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import RK45

from diffnum.distillation.checks import checked_times
from diffnum.distillation.quadrature import Pairs
from diffnum.distillation.students import FeatureStudent
from diffnum.types import FloatArray

__all__ = ["PenalisedTerms", "RegularisedFlow", "regularised_flow"]


class PenalisedTerms(NamedTuple):
    """Value and gradient of a penalised loss.

    Parameters
    ----------
    value : float
    gradient : ndarray, shape of the coefficients
    fit : float
        Share of the squared distance to the velocity.
    error : float
        Mean over times of the root mean square error estimate, without its strength.
    """

    value: float
    gradient: FloatArray
    fit: float
    error: float


class Moved(NamedTuple):
    """A quantity of shape (n, d) and its derivatives with respect to the coefficients, shape (n, d, J, d)."""

    at: FloatArray
    slope: FloatArray

    def plus(self, factors: Any, others: list[Moved]) -> Moved:
        """Sum with multiples of others."""
        at, slope = self.at.copy(), self.slope.copy()
        for factor, other in zip(factors, others, strict=False):
            at += factor * other.at
            slope += factor * other.slope
        return Moved(at, slope)


@dataclass(frozen=True, eq=False)
class RegularisedFlow:
    """Flow matching with a penalty on local errors; made by :func:`regularised_flow`.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    times : tuple of float
        Noise levels, weighted equally.
    strength : float
        Factor of the penalty.
    step : float
        Length of the step whose error is estimated, towards the data.
    """

    schedule: Any
    times: tuple[float, ...]
    strength: float
    step: float

    def terms(self, student: FeatureStudent, pairs: Pairs) -> PenalisedTerms:
        """Value and gradient on a batch of data and noise; the student is the velocity, ``student(x, t)``."""
        theta = np.asarray(student.coefficients)
        fit, error, gradient = 0.0, 0.0, np.zeros_like(theta)
        share = pairs.weights / len(self.times)
        for t in self.times:
            x = pairs.at(self.schedule, t)
            basis = student.basis(x, t)
            gap = basis @ theta - pairs.conditional_velocity(self.schedule, t)
            fit += float(share @ np.sum(gap**2, axis=1))
            gradient += 2.0 * basis.T @ (share[:, None] * gap)
            if self.strength:
                found = self._estimate(student, x, t)
                size = float(np.sqrt(pairs.weights @ np.mean(found.at**2, axis=1)))
                error += size / len(self.times)
                pull = share[:, None] * found.at / (student.dim * max(size, np.finfo(np.float64).tiny))
                gradient += self.strength * np.einsum("ni,nijk->jk", pull, found.slope)
        return PenalisedTerms(fit + self.strength * error, gradient, fit, error)

    def _estimate(self, student: FeatureStudent, x: FloatArray, t: float) -> Moved:
        """Embedded error estimate of one step, with its derivatives."""
        h, theta = -self.step, np.asarray(student.coefficients)
        start = Moved(x, np.zeros((*x.shape, *theta.shape)))
        stages: list[Moved] = []
        for row, c in [*zip(RK45.A, RK45.C, strict=True), (RK45.B, 1.0)]:
            y = start.plus(h * np.asarray(row), stages)
            basis = student.basis(y.at, t + c * h)
            slope = np.einsum("nij,njkl->nikl", student.jacobian(y.at, t + c * h), y.slope)
            for i in range(student.dim):
                slope[:, i, :, i] += basis
            stages.append(Moved(basis @ theta, slope))
        nothing = Moved(np.zeros_like(x), np.zeros_like(start.slope))
        return nothing.plus(h * RK45.E, stages)


def regularised_flow(schedule: Any, times: Sequence[float], *, strength: float, step: float = 0.1) -> RegularisedFlow:
    """Flow matching whose student is penalised for the local errors that a solver would make with it.

    Parameters
    ----------
    schedule : Schedule
        Noising process.
    times : sequence of float
        Noise levels, weighted equally, at least ``step`` inside the domain.
    strength : float
        Factor of the penalty, >= 0; 0 is plain flow matching.
    step : float
        Length of the step whose error is estimated, positive.

    Returns
    -------
    RegularisedFlow

    Raises
    ------
    ValueError
        If a time, with its step, lies outside the domain, or strength or step is negative.
    """
    if not (strength >= 0.0 and step > 0.0):
        msg = f"strength={strength!r} and step={step!r}: use a factor >= 0 and a positive length"
        raise ValueError(msg)
    nodes = checked_times(schedule, times)
    if min(nodes) - step < schedule.t_min:
        msg = (
            f"times has {min(nodes)!r}, and a step of {step!r} from there ends below {schedule.t_min!r}: use "
            "later times or a shorter step"
        )
        raise ValueError(msg)
    return RegularisedFlow(schedule, tuple(nodes), float(strength), float(step))
