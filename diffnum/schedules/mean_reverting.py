"""The mean-reverting process: data drift to a given mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from diffnum.schedules import tools
from diffnum.schedules.tools import SymbolicSchedule, maths

__all__ = ["MeanReverting"]


@dataclass(frozen=True, eq=False)
class MeanReverting:
    r"""Ornstein-Uhlenbeck process: ``alpha = exp(-theta t)``, ``sigma = sigma_inf sqrt(1 - alpha^2)``.

    The state obeys ``x_t - mean = alpha (x_0 - mean) + sigma eps`` (Luo et al. 2023, arXiv:2301.11699, with
    ``t`` their integrated rate). With ``sigma_inf = 1``, ``mean = 0`` it is the variance-preserving process
    of constant beta ``2 theta``.

    Parameters
    ----------
    theta : float
        Rate of reversion, positive.
    sigma_inf : float
        Stationary standard deviation, positive.
    mean : float or array_like
        What the process reverts to: a float, or the values of one state (kept as a read-only float64 array).
    t_max : float
        End of the domain ``[0, t_max]``.
    """

    theta: float = 1.0
    sigma_inf: float = 1.0
    mean: Any = 0.0
    t_max: float = 5.0
    name: ClassVar[str] = "mean-reverting"
    t_min: ClassVar[float] = 0.0
    default_t_end: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        tools.check_positive(theta=self.theta, sigma_inf=self.sigma_inf, t_max=self.t_max)
        tools.check_order("default_t_end", self.default_t_end, "t_max", self.t_max, equal=False)
        mean = np.asarray(self.mean, dtype=np.float64).copy()
        if not np.all(np.isfinite(mean)):
            msg = f"mean must be finite, got {self.mean!r}; remove NaN and infinite entries"
            raise ValueError(msg)
        mean.setflags(write=False)
        object.__setattr__(self, "mean", float(mean) if mean.ndim == 0 else mean)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MeanReverting) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        # An array has no hash, so its shape and bytes stand for it (+ 0.0 makes -0.0 equal 0.0).
        mean = np.asarray(self.mean) + 0.0
        return self.theta, self.sigma_inf, mean.shape, mean.tobytes(), self.t_max

    @property
    def default_t_start(self) -> float:
        """Where sampling starts unless told otherwise."""
        return self.t_max

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``."""
        m, t = tools.at(self, t)
        return m.exp(-self.theta * t)

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``."""
        m, t = tools.at(self, t)
        return self.sigma_inf * tools.vp_sigma(m, 2.0 * self.theta * t)

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        m, t = tools.at(self, t)
        return tools.vp_half_log_snr(m, 2.0 * self.theta * t) - math.log(self.sigma_inf)

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`."""
        m, lam = maths(half_log_snr)
        return tools.reached(self, lam, tools.vp_exponent(m, lam + math.log(self.sigma_inf)) / (2.0 * self.theta))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``, for ``x - mean``."""
        m, t = tools.at(self, t)
        return -self.theta * m.one(t), self.theta * self.sigma_inf**2 / self.sigma(t)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, for ``x - mean``."""
        alpha = self.alpha(t)
        return -self.theta * alpha, self.theta * (self.sigma_inf * alpha) ** 2

    def symbolic(self) -> SymbolicSchedule:
        """Sympy expressions of this schedule (for ``x - mean``, which needs no symbol)."""
        import sympy

        t, lam = tools.symbols()
        theta, scale = tools.exact(self.theta), tools.exact(self.sigma_inf)
        alpha = sympy.exp(-theta * t)
        sigma = scale * sympy.sqrt(1 - alpha**2)
        time = sympy.log(1 + sympy.exp(-2 * lam) / scale**2) / (2 * theta)
        return SymbolicSchedule(t, lam, alpha, sigma, sympy.log(alpha / sigma), time)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)
