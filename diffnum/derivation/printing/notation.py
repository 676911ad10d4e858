r"""Notation of the papers, shared by the printed formulas.

Official codes write :math:`\psi_1(z) = e^z - 1`, :math:`\psi_{k+1}(z) = \psi_k(z)/z - 1/k!`, z = -h for data and +h for
noise, books :math:`\varphi_k(z) = \psi_k(z)/z`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import factorial
from typing import Any, TypeAlias

from diffnum.derivation.algebra.symbols import Symbols

__all__ = [
    "ANY_ORDER",
    "DPM_CODE",
    "HNW",
    "KDIFFUSION",
    "NOISE",
    "UNIPC_CODE",
    "Published",
    "Rows",
    "phi",
    "psi",
    "rate",
    "ratios",
    "sign",
]

ANY_ORDER = 99
"""Largest order of a formula that is printed for every order."""

HNW = "Hairer, Norsett and Wanner I, section III"
UNIPC_CODE = "wl-zhao/UniPC at cf9de85b, uni_pc.py"
KDIFFUSION = "k-diffusion 0.1.1, sampling.py, "
DPM_CODE = "LuChengTHU/dpm-solver at 52bc3fbc, dpm_solver_pytorch.py"

Rows: TypeAlias = dict[str, dict[str, Any]]
"""Row -> evaluation -> weight; under :data:`NOISE` the variance of the row's draws."""

NOISE = "z"
"""Entry of a printed row for the variance of its noise, in units of sigma^2 at its node."""


@dataclass(frozen=True)
class Published:
    """A formula as printed.

    Parameters
    ----------
    source : str
        Paper and equation, or repository, commit and function.
    rates : tuple
        Growth rates of the kernels (predictions) for which it is printed: -1 data, 1 noise, 0 plain clocks, None time.
    orders : tuple of two int
        Smallest and largest order for which it is printed.
    rows : callable
        ``rows(symbols, order, **options) -> {row: {evaluation: weight}}``; with the ratios ``symbols.past``. The
        weight of the state is left out where it is 1.
    """

    source: str
    rates: tuple[int | None, ...]
    orders: tuple[int, int]
    rows: Callable[..., Rows] = field(repr=False)

    def covers(self, rate: int | None, order: int) -> bool:
        """Whether the formula is printed for this prediction and order."""
        return rate in self.rates and self.orders[0] <= order <= self.orders[1]


def rate(symbols: Symbols) -> int:
    """Return +1 for noise and -1 for data prediction: z = rate h."""
    if not symbols.rate:
        msg = f"rate={symbols.rate}: psi belongs to data and noise prediction in half-log-SNR"
        raise ValueError(msg)
    return symbols.rate


def psi(symbols: Symbols, k: int, fraction: Any = 1) -> Any:
    """psi_k(fraction z) of the official codes."""
    z = rate(symbols) * symbols.h * fraction
    value = symbols.exp(rate(symbols) * fraction) - 1
    for j in range(1, k):
        value = value / z - Fraction(1, factorial(j))
    return value


def sign(symbols: Symbols) -> int:
    """-C psi in units of the gain: C is alpha_t for data, sigma_t for noise, and the gain is alpha_t, -sigma_t."""
    return -1 if symbols.rate == -1 else 1


def ratios(symbols: Symbols) -> list[Any]:
    """Ratios r_0 = h_{n-1}/h_n, r_1 = h_{n-2}/h_n, ... of the papers."""
    nodes = (symbols.constant(0), *symbols.past)
    return [nodes[i] - nodes[i + 1] for i in range(len(nodes) - 1)]


def phi(symbols: Symbols, k: int, fraction: Any = 1) -> Any:
    """Return h phi_k(fraction z), the weight that books write h phi_k."""
    return sign(symbols) * psi(symbols, k, fraction) / fraction
