"""Variance-preserving processes: linear beta in three forms, and the cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from diffnum.schedules import tools
from diffnum.schedules.tools import SymbolicSchedule, maths

__all__ = ["SubVP", "VPCosine", "VPFitted", "VPLinear"]


class _LinearBeta:
    """Formulas of the variance-preserving processes with linear beta."""

    @property
    def beta_min(self) -> float:
        """Rate of noising at ``t = 0``."""
        raise NotImplementedError

    @property
    def beta_max(self) -> float:
        """Rate of noising at ``t = 1``."""
        raise NotImplementedError

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``."""
        m, t = tools.at(self, t)
        return tools.vp_alpha(m, tools.linear_exponent(self.beta_min, self.beta_max, t))

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``."""
        m, t = tools.at(self, t)
        return tools.vp_sigma(m, tools.linear_exponent(self.beta_min, self.beta_max, t))

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        m, t = tools.at(self, t)
        return tools.vp_half_log_snr(m, tools.linear_exponent(self.beta_min, self.beta_max, t))

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`."""
        m, lam = maths(half_log_snr)
        return tools.reached(self, lam, tools.linear_time(m, self.beta_min, self.beta_max, tools.vp_exponent(m, lam)))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``."""
        _, t = tools.at(self, t)
        beta = tools.linear_rate(self.beta_min, self.beta_max, t)
        return -0.5 * beta, 0.5 * beta / self.sigma(t)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, finite at both ends."""
        _, t = tools.at(self, t)
        return tools.vp_rates(self.alpha(t), tools.linear_rate(self.beta_min, self.beta_max, t))

    def symbolic(self) -> SymbolicSchedule:
        """Sympy expressions of this schedule."""
        import sympy

        t, lam = tools.symbols()
        log_alpha, time = tools.linear_symbols(self.beta_min, self.beta_max, t, 2 * sympy.log(1 + sympy.exp(-2 * lam)))
        alpha, sigma = sympy.exp(log_alpha), sympy.sqrt(1 - sympy.exp(2 * log_alpha))
        return SymbolicSchedule(t, lam, alpha, sigma, sympy.log(alpha / sigma), time)


@dataclass(frozen=True)
class VPLinear(_LinearBeta):
    r"""Variance preserving, linear beta.

    ``log alpha = -(beta_max - beta_min) t^2 / 4 - beta_min t / 2`` and ``alpha^2 + sigma^2 = 1`` (Song et al.
    2021, arXiv:2011.13456, appendix C). ``t_max`` bounds the domain only: it does not enter the formula.

    Parameters
    ----------
    beta_min, beta_max : float
        Rates of noising at ``t = 0`` and ``t = 1``, ``0 < beta_min <= beta_max``; equal means constant beta.
    t_max : float
        End of the domain ``[0, t_max]``.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_max: float = 1.0
    name: ClassVar[str] = "vp-linear"
    t_min: ClassVar[float] = 0.0
    mean: ClassVar[float] = 0.0
    default_t_end: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        tools.check_linear(self.beta_min, self.beta_max, self.default_t_end, self.t_max)

    @property
    def default_t_start(self) -> float:
        """Where sampling starts unless told otherwise."""
        return self.t_max

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)


@dataclass(frozen=True)
class VPFitted(_LinearBeta):
    r"""Variance preserving, linear beta fitted to two noise levels; defined between their times, ``t_end`` and 1.

    With the levels of EDM, 0.002 and 80, beta would be negative before ``t = 0.0003``, which is why this is no
    :class:`VPLinear` (Karras et al. 2022, arXiv:2206.00364, ``ablation_sampler``, ``vp_beta_d``).

    Parameters
    ----------
    sigma_min, sigma_max : float
        ``sigma / alpha`` at ``t_end`` and at 1, ``0 < sigma_min < sigma_max``.
    t_end : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the linear beta through both levels is not positive from ``t_end`` to 1.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    t_end: float = 1e-3
    name: ClassVar[str] = "vp-fitted"
    t_max: ClassVar[float] = 1.0
    mean: ClassVar[float] = 0.0
    default_t_start: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        tools.check_positive(sigma_min=self.sigma_min, sigma_max=self.sigma_max, t_end=self.t_end)
        tools.check_order("sigma_min", self.sigma_min, "sigma_max", self.sigma_max, equal=False)
        tools.check_order("t_end", self.t_end, "t_max", self.t_max, equal=False)
        for t in (self.t_end, 1.0):
            if tools.linear_rate(self.beta_min, self.beta_max, t) <= 0.0:
                msg = (
                    f"sigma_min={self.sigma_min!r} at t_end={self.t_end!r} and sigma_max={self.sigma_max!r} at 1 "
                    f"need a beta that is not positive at t={t!r}: pass a smaller t_end with a smaller sigma_min"
                )
                raise ValueError(msg)

    @property
    def beta_max(self) -> float:
        """Rate of noising at ``t = 1``."""
        return math.log1p(self.sigma_max**2) + 0.5 * self._slope

    @property
    def beta_min(self) -> float:
        """Rate of noising at ``t = 0`` in the formula; may be negative."""
        return math.log1p(self.sigma_max**2) - 0.5 * self._slope

    @property
    def _slope(self) -> float:
        """Derivative of beta."""
        first, last = math.log1p(self.sigma_min**2), math.log1p(self.sigma_max**2)
        return 2.0 * (first / self.t_end - last) / (self.t_end - 1.0)

    @property
    def t_min(self) -> float:
        """End of the domain: ``t_end``."""
        return self.t_end

    @property
    def default_t_end(self) -> float:
        """Where sampling ends unless told otherwise: ``t_end``."""
        return self.t_end

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)


@dataclass(frozen=True)
class SubVP:
    r"""Sub-variance preserving: ``alpha`` of :class:`VPLinear`, ``sigma = 1 - alpha^2``.

    Song et al. 2021, arXiv:2011.13456, appendix C. Equivalent: ``exp(-half_log_snr) = 2 sinh(-log alpha)``.

    Parameters
    ----------
    beta_min, beta_max, t_max : float
        As for :class:`VPLinear`.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_max: float = 1.0
    name: ClassVar[str] = "sub-vp"
    t_min: ClassVar[float] = 0.0
    mean: ClassVar[float] = 0.0
    default_t_end: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        tools.check_linear(self.beta_min, self.beta_max, self.default_t_end, self.t_max)

    @property
    def default_t_start(self) -> float:
        """Where sampling starts unless told otherwise."""
        return self.t_max

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``."""
        m, t = tools.at(self, t)
        return tools.vp_alpha(m, tools.linear_exponent(self.beta_min, self.beta_max, t))

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``."""
        m, t = tools.at(self, t)
        return -m.expm1(-tools.linear_exponent(self.beta_min, self.beta_max, t))

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        m, t = tools.at(self, t)
        exponent = tools.linear_exponent(self.beta_min, self.beta_max, t)
        return -0.5 * exponent - m.log(-m.expm1(-exponent))

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`."""
        m, lam = maths(half_log_snr)
        small = m.exp(-abs(lam))  # asinh(exp(-lam) / 2) written so that neither sign of lam can overflow
        noisy = abs(lam) + m.log1p(2.0 * small * small / (1.0 + m.sqrt(1.0 + 4.0 * small * small)))
        exponent = 2.0 * m.where(lam > 0.0, m.asinh(0.5 * small), noisy)
        return tools.reached(self, lam, tools.linear_time(m, self.beta_min, self.beta_max, exponent))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``."""
        _, t = tools.at(self, t)
        beta = tools.linear_rate(self.beta_min, self.beta_max, t)
        return -0.5 * beta, 0.5 * beta * (1.0 + self.alpha(t) ** 2)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, finite at both ends."""
        _, t = tools.at(self, t)
        alpha, beta = self.alpha(t), tools.linear_rate(self.beta_min, self.beta_max, t)
        return -0.5 * beta * alpha, beta * self.sigma(t) * alpha * alpha

    def symbolic(self) -> SymbolicSchedule:
        """Sympy expressions of this schedule."""
        import sympy

        t, lam = tools.symbols()
        log_alpha, time = tools.linear_symbols(self.beta_min, self.beta_max, t, 4 * sympy.asinh(sympy.exp(-lam) / 2))
        alpha, sigma = sympy.exp(log_alpha), 1 - sympy.exp(2 * log_alpha)
        return SymbolicSchedule(t, lam, alpha, sigma, sympy.log(alpha / sigma), time)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)


@dataclass(frozen=True)
class VPCosine:
    r"""Variance preserving, cosine: ``alpha = cos(pi/2 (t + s)/(1 + s)) / cos(pi/2 s/(1 + s))``.

    Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17, in continuous time.

    Parameters
    ----------
    s : float
        Offset, positive.
    t_max : float
        End of the domain, at most 1 (where ``alpha = 0``); 0.9946 as in the DPM-Solver code.
    """

    s: float = 0.008
    t_max: float = 0.9946
    name: ClassVar[str] = "vp-cosine"
    t_min: ClassVar[float] = 0.0
    mean: ClassVar[float] = 0.0
    default_t_end: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        tools.check_positive(s=self.s, t_max=self.t_max)
        tools.check_order("default_t_end", self.default_t_end, "t_max", self.t_max, equal=False)
        if self.t_max > 1.0:
            msg = f"t_max must be at most 1 (alpha = 0 there), got {self.t_max!r}; pass t_max <= 1"
            raise ValueError(msg)

    @property
    def default_t_start(self) -> float:
        """Where sampling starts unless told otherwise: ``t_max``, but not beyond 0.9946."""
        return min(self.t_max, 0.9946)

    @property
    def _offset(self) -> float:
        """Angle at ``t = 0``."""
        return 0.5 * math.pi * self.s / (1.0 + self.s)

    def _signal(self, m: tools.Maths, t: Any) -> Any:
        """``alpha`` times the cosine of the offset, from the distance to ``t = 1``."""
        return m.sin((0.5 * math.pi / (1.0 + self.s)) * (1.0 - t))

    def _noise_squared(self, m: tools.Maths, t: Any) -> Any:
        """``sigma^2`` times the squared cosine of the offset: ``cos^2 a - cos^2 b`` factored."""
        angle = (0.5 * math.pi / (1.0 + self.s)) * t
        return m.sin(angle) * m.sin(2.0 * self._offset + angle)

    def alpha(self, t: Any) -> Any:
        """Signal factor at time ``t``."""
        m, t = tools.at(self, t)
        return self._signal(m, t) / math.cos(self._offset)

    def sigma(self, t: Any) -> Any:
        """Noise standard deviation at time ``t``."""
        m, t = tools.at(self, t)
        return m.sqrt(self._noise_squared(m, t)) / math.cos(self._offset)

    def half_log_snr(self, t: Any) -> Any:
        """Natural logarithm of ``alpha / sigma`` at time ``t``."""
        m, t = tools.at(self, t)
        return m.log(self._signal(m, t)) - 0.5 * m.log(self._noise_squared(m, t))

    def time(self, half_log_snr: Any) -> Any:
        """Inverse of :meth:`half_log_snr`."""
        m, lam = maths(half_log_snr)
        cos_a, sin_a = math.cos(self._offset), math.sin(self._offset)
        signal, noise = (
            m.exp(-tools.softplus(m, -2.0 * lam)),
            m.exp(-tools.softplus(m, 2.0 * lam)),
        )  # alpha^2, sigma^2
        cos_b = cos_a * m.sqrt(signal)
        sin_b = m.sqrt(sin_a * sin_a + cos_a * cos_a * noise)
        sin_angle = cos_a * cos_a * noise / (sin_b * cos_a + cos_b * sin_a)  # b - a without the difference
        angle = m.atan2(sin_angle, cos_b * cos_a + sin_b * sin_a)
        return tools.reached(self, lam, angle / (0.5 * math.pi / (1.0 + self.s)))

    def drift(self, t: Any) -> tuple[Any, Any]:
        """Coefficients (a, b) of the probability-flow ODE ``dx/dt = a x + b eps``."""
        m, t = tools.at(self, t)
        rate = 0.5 * math.pi / (1.0 + self.s)
        signal = m.sin(rate * (1.0 - t))
        damping = rate * m.sin(0.5 * math.pi - rate * (1.0 - t)) / signal
        return -damping, damping / self.sigma(t)

    def rates(self, t: Any) -> tuple[Any, Any]:
        """Derivatives of ``alpha`` and of ``sigma^2 / 2`` with respect to time, finite at both ends."""
        m, t = tools.at(self, t)
        rate = 0.5 * math.pi / (1.0 + self.s)
        slope = -rate * m.sin(0.5 * math.pi - rate * (1.0 - t)) / math.cos(self._offset)
        return slope, -slope * self.alpha(t)

    def symbolic(self) -> SymbolicSchedule:
        """Sympy expressions of this schedule."""
        import sympy

        t, lam = tools.symbols()
        s = tools.exact(self.s)
        start = sympy.cos(sympy.pi * s / (1 + s) / 2)
        alpha = sympy.cos(sympy.pi * (t + s) / (1 + s) / 2) / start
        sigma = sympy.sqrt(1 - alpha**2)
        cosine = start / sympy.sqrt(1 + sympy.exp(-2 * lam))
        time = 2 * (1 + s) / sympy.pi * sympy.acos(cosine) - s
        return SymbolicSchedule(t, lam, alpha, sigma, sympy.log(alpha / sigma), time)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; :func:`from_dict` reads it."""
        return tools.parameters(self)
