"""Scale schedules: weights that depend on time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from diffnum.types import Schedule

__all__ = ["RAMPS", "Ramp"]


def _linear(u: float) -> float:
    """Rising on a line."""
    return u


def _cosine(u: float) -> float:
    """Rising with level ends."""
    return 0.5 - 0.5 * math.cos(math.pi * u)


def _window(u: float) -> float:
    """Rising and falling again."""
    return math.sin(math.pi * u) ** 2


RAMPS: Final[Mapping[str, Callable[[float], float]]] = MappingProxyType(
    {
        "linear": _linear,
        "cosine": _cosine,
        "window": _window,
    }
)
"""Shapes of a scale schedule on [0, 1], from the noisy end to the clean end; "window" rises and falls again."""


@dataclass(frozen=True)
class Ramp:
    """Scale schedule between two half-log-SNRs; constant outside.

    Parameters
    ----------
    schedule : Schedule
        Of the model.
    noisy, clean : float
        Weights at the noisy and at the clean end (for "window": at both ends, and in the middle).
    shape : {"linear", "cosine", "window"}
        How the weight goes from one to the other, in half-log-SNR.
    sigma_max, sigma_min : float
        Noise levels sigma/alpha of the ends.

    Raises
    ------
    ValueError
        If the shape is unknown or the levels are out of order.

    Notes
    -----
    "cosine" has one continuous derivative and "window", which stands for a guidance interval, three; what a solver's
    order needs is as many as the order, or nodes at the ends.

    References
    ----------
    Increasing weights: Wang et al. 2024, arXiv:2404.13040, who let them depend on t.
    """

    schedule: Schedule
    noisy: float
    clean: float
    shape: str = "cosine"
    sigma_max: float = 80.0
    sigma_min: float = 0.002

    def __post_init__(self) -> None:
        if self.shape not in RAMPS:
            msg = f"shape={self.shape!r} is unknown: use one of {', '.join(RAMPS)}"
            raise ValueError(msg)
        if not 0.0 < self.sigma_min < self.sigma_max < math.inf:
            msg = f"sigma_min={self.sigma_min!r}, sigma_max={self.sigma_max!r}: give noise levels, 0 < low < high"
            raise ValueError(msg)

    def __call__(self, t: Any) -> float:
        """Weight at time ``t``, a number."""
        begin, end = -math.log(self.sigma_max), -math.log(self.sigma_min)
        u = (float(self.schedule.half_log_snr(float(t))) - begin) / (end - begin)
        return self.noisy + (self.clean - self.noisy) * RAMPS[self.shape](min(max(u, 0.0), 1.0))
