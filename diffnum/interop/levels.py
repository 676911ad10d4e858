"""Noise levels between two ends as diffusers spaces them: Karras, exponential, beta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from diffnum.types import FloatArray

__all__ = ["FLAGS", "LEVELS", "spacing_flag"]

_RHO = 7.0


def _karras(high: float, low: float, n: int) -> FloatArray:
    """Uniform in the seventh root (Karras et al. 2022, arXiv:2206.00364, equation 5)."""
    return np.asarray(np.linspace(high ** (1.0 / _RHO), low ** (1.0 / _RHO), n) ** _RHO)


def _exponential(high: float, low: float, n: int) -> FloatArray:
    """Uniform in the logarithm."""
    return np.asarray(np.exp(np.linspace(np.log(high), np.log(low), n)))


def _beta(high: float, low: float, n: int) -> FloatArray:
    """Quantiles of a beta law (Lee et al. 2024, arXiv:2407.12173), both parameters 0.6 as in diffusers."""
    from scipy.stats import beta

    return np.asarray(low + (high - low) * beta.ppf(1.0 - np.linspace(0.0, 1.0, n), 0.6, 0.6))


LEVELS: Final[Mapping[str, Callable[[float, float, int], FloatArray]]] = MappingProxyType(
    {"karras": _karras, "exponential": _exponential, "beta": _beta}
)
"""Spacing -> function ``(high, low, n)`` of the n levels, both ends among them; one level is the high end."""

FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "use_karras_sigmas": "karras",
        "use_exponential_sigmas": "exponential",
        "use_lu_lambdas": "exponential",
        "use_beta_sigmas": "beta",
    }
)
"""Flag of a configuration -> spacing."""


def spacing_flag(config: Any) -> str | None:
    """Spacing that a flag asks for.

    Raises
    ------
    ValueError
        If several are set.
    """
    flags = [flag for flag in FLAGS if getattr(config, flag)]
    if len(flags) > 1:
        msg = f"more than one of {', '.join(FLAGS)} is set: keep one"
        raise ValueError(msg)
    return FLAGS[flags[0]] if flags else None
