"""The rectified flow: ``alpha = 1 - t``, ``sigma = t``, shifted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from diffnum.schedules import tools
from diffnum.schedules.tools import SymbolicSchedule, maths

__all__ = ["FlowMatching"]


@dataclass(frozen=True)
class FlowMatching:
    r"""Rectified flow: ``sigma = s``, ``alpha = 1 - s``, shifted time ``s = shift t / (1 + (shift - 1) t)``.

    Lipman et al. 2023, arXiv:2210.02747; the shift is Esser et al. 2024, arXiv:2403.03206, eq. 23. Pure noise
    is at ``t = 1``: ``half_log_snr(1) = -inf``.

    Parameters
    ----------
    shift : float
        Positive; 1 means no shift, larger puts more of the time near the noise.
    """

    shift: float = 1.0
    name: ClassVar[str] = "flow"
    t_min: ClassVar[float] = 0.0
    t_max: ClassVar[float] = 1.0
    mean: ClassVar[float] = 0.0
    default_t_start: ClassVar[float] = 1.0 - 1e-3
    default_t_end: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        tools.check_positive(shift=self.shift)

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``."""
        _, t = tools.at(self, t)
        return (1.0 - t) / (1.0 + (self.shift - 1.0) * t)

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``."""
        _, t = tools.at(self, t)
        return self.shift * t / (1.0 + (self.shift - 1.0) * t)

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        m, t = tools.at(self, t)
        return m.log1p(-t) - m.log(t) - math.log(self.shift)

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`: the logistic function of ``-(half_log_snr + log shift)``."""
        m, lam = maths(half_log_snr)
        centred = lam + math.log(self.shift)
        small = m.exp(-abs(centred))
        return tools.reached(self, lam, m.where(centred > 0.0, small, m.one(small)) / (1.0 + small))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``."""
        m, t = tools.at(self, t)
        stretch = 1.0 + (self.shift - 1.0) * t
        rate = self.shift / (stretch * (1.0 - t))  # of -log alpha
        return -rate, rate * m.one(t)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, finite at both ends."""
        _, t = tools.at(self, t)
        stretch = 1.0 + (self.shift - 1.0) * t
        rate = self.shift / (stretch * stretch)
        return -rate, rate * self.sigma(t)

    def symbolic(self) -> SymbolicSchedule:
        """Sympy expressions of this schedule."""
        import sympy

        t, lam = tools.symbols()
        shift = tools.exact(self.shift)
        sigma = shift * t / (1 + (shift - 1) * t)
        time = 1 / (1 + shift * sympy.exp(lam))
        return SymbolicSchedule(t, lam, 1 - sigma, sigma, sympy.log((1 - t) / (shift * t)), time)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)
