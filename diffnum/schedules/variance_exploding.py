r"""Variance-exploding schedules: ``alpha = 1``, and three clocks for ``sigma``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from diffnum.schedules import tools
from diffnum.schedules.tools import SymbolicSchedule, maths

__all__ = ["EDM", "VE", "Brownian"]


@dataclass(frozen=True)
class VE:
    r"""Variance exploding: ``alpha = 1``, ``sigma = sigma_min (sigma_max / sigma_min)^t`` on ``0 <= t <= 1``.

    Song et al. 2021, arXiv:2011.13456, appendix C. ``sigma = 0`` is not in the domain.

    Parameters
    ----------
    sigma_min, sigma_max : float
        Noise standard deviations at ``t = 0`` and ``t = 1``, ``0 < sigma_min < sigma_max``.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    name: ClassVar[str] = "ve"
    only_adds_noise: ClassVar[bool] = True
    t_min: ClassVar[float] = 0.0
    t_max: ClassVar[float] = 1.0
    mean: ClassVar[float] = 0.0
    default_t_start: ClassVar[float] = 1.0
    default_t_end: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        tools.check_positive(sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        tools.check_order("sigma_min", self.sigma_min, "sigma_max", self.sigma_max, equal=False)

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``: 1."""
        m, t = tools.at(self, t)
        return m.one(t)

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``."""
        m, t = tools.at(self, t)
        return self.sigma_min * m.exp(math.log(self.sigma_max / self.sigma_min) * t)

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        _, t = tools.at(self, t)
        return -math.log(self.sigma_min) - math.log(self.sigma_max / self.sigma_min) * t

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`."""
        _, lam = maths(half_log_snr)
        return tools.reached(self, lam, (-math.log(self.sigma_min) - lam) / math.log(self.sigma_max / self.sigma_min))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``."""
        m, t = tools.at(self, t)
        return 0.0 * m.one(t), math.log(self.sigma_max / self.sigma_min) * self.sigma(t)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, finite at both ends."""
        m, t = tools.at(self, t)
        return 0.0 * m.one(t), math.log(self.sigma_max / self.sigma_min) * self.sigma(t) ** 2

    def symbolic(self) -> SymbolicSchedule:
        """Sympy expressions of this schedule."""
        import sympy

        t, lam = tools.symbols()
        low, high = tools.exact(self.sigma_min), tools.exact(self.sigma_max)
        span = sympy.log(high / low)
        time = (-lam - sympy.log(low)) / span
        return SymbolicSchedule(t, lam, sympy.Integer(1), low * (high / low) ** t, -sympy.log(low) - t * span, time)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)


@dataclass(frozen=True)
class EDM:
    r"""Karras et al.: ``alpha = 1``, ``sigma = t`` on ``0 <= t <= sigma_max`` (arXiv:2206.00364, table 1).

    Parameters
    ----------
    sigma_min, sigma_max : float
        Default end and start of sampling; ``sigma_max`` also ends the domain. ``0 < sigma_min < sigma_max``.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    name: ClassVar[str] = "edm"
    only_adds_noise: ClassVar[bool] = True
    t_min: ClassVar[float] = 0.0
    mean: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        tools.check_positive(sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        tools.check_order("sigma_min", self.sigma_min, "sigma_max", self.sigma_max, equal=False)

    @property
    def t_max(self) -> float:
        """End of the domain: ``sigma_max``."""
        return self.sigma_max

    @property
    def default_t_start(self) -> float:
        """Where sampling starts unless told otherwise: ``sigma_max``."""
        return self.sigma_max

    @property
    def default_t_end(self) -> float:
        """Where sampling ends unless told otherwise: ``sigma_min``."""
        return self.sigma_min

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``: 1."""
        m, t = tools.at(self, t)
        return m.one(t)

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``: ``t``."""
        return tools.at(self, t)[1]

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        m, t = tools.at(self, t)
        return -m.log(t)

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`."""
        m, lam = maths(half_log_snr)
        return tools.reached(self, lam, m.exp(-lam))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``."""
        m, t = tools.at(self, t)
        return 0.0 * m.one(t), m.one(t)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, finite at both ends."""
        m, t = tools.at(self, t)
        return 0.0 * m.one(t), t

    def symbolic(self) -> SymbolicSchedule:
        """Sympy expressions of this schedule."""
        import sympy

        t, lam = tools.symbols()
        return SymbolicSchedule(t, lam, sympy.Integer(1), t, -sympy.log(t), sympy.exp(-lam))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)


@dataclass(frozen=True)
class Brownian:
    r"""Brownian motion started at the data: ``alpha = 1``, ``sigma = sqrt(t)`` (arXiv:2206.00364, table 1, "VE").

    Parameters
    ----------
    sigma_min, sigma_max : float
        Noise standard deviations at the default end and start of sampling; ``sigma_max`` also ends the domain.
        ``0 < sigma_min < sigma_max``.
    """

    sigma_min: float = 0.02
    sigma_max: float = 100.0
    name: ClassVar[str] = "brownian"
    only_adds_noise: ClassVar[bool] = True
    t_min: ClassVar[float] = 0.0
    mean: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        tools.check_positive(sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        tools.check_order("sigma_min", self.sigma_min, "sigma_max", self.sigma_max, equal=False)

    @property
    def t_max(self) -> float:
        """End of the domain: ``sigma_max`` squared."""
        return self.sigma_max**2

    @property
    def default_t_start(self) -> float:
        """Where sampling starts unless told otherwise: ``sigma_max`` squared."""
        return self.sigma_max**2

    @property
    def default_t_end(self) -> float:
        """Where sampling ends unless told otherwise: ``sigma_min`` squared."""
        return self.sigma_min**2

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``: 1."""
        m, t = tools.at(self, t)
        return m.one(t)

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``: its root."""
        m, t = tools.at(self, t)
        return m.sqrt(t)

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        m, t = tools.at(self, t)
        return -0.5 * m.log(t)

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`."""
        m, lam = maths(half_log_snr)
        return tools.reached(self, lam, m.exp(-2.0 * lam))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``."""
        m, t = tools.at(self, t)
        return 0.0 * m.one(t), 0.5 / m.sqrt(t)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, finite at both ends."""
        m, t = tools.at(self, t)
        return 0.0 * m.one(t), 0.5 * m.one(t)

    def symbolic(self) -> SymbolicSchedule:
        """Sympy expressions of this schedule."""
        import sympy

        t, lam = tools.symbols()
        return SymbolicSchedule(t, lam, sympy.Integer(1), sympy.sqrt(t), -sympy.log(t) / 2, sympy.exp(-2 * lam))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)
