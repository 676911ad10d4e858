"""Formulas of the exponential Runge-Kutta methods, as printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.printing.notation import Published, Rows, phi
from diffnum.derivation.published.runge_kutta import HALF, stage_rows

__all__ = ["PUBLISHED"]


def _etd_rk3(symbols: Symbols) -> Rows:
    """b_n = u e^{ch} + (e^{ch} - 1)(2 F(a_n) - F)/c, and the weights with e^{ch} written out over c^3 h^2."""
    z = symbols.h * (symbols.rate or 0)
    e = symbols.exp(symbols.rate or 0)
    scale = (symbols.rate or 0) * z**2  # c^3 h^2 = c z^2, c = rate
    full = phi(symbols, 1)
    stages = {"k2": {"k1": phi(symbols, 1, HALF) / 2}, "k3": {"k1": -full, "k2": 2 * full}}
    weights = {
        "k1": (-4 - z + e * (4 - 3 * z + z**2)) / scale,
        "k2": 4 * (2 + z + e * (z - 2)) / scale,
        "k3": (-4 - 3 * z - z**2 + e * (4 - z)) / scale,
    }
    return stage_rows(stages, weights)


def _etd_rk4(symbols: Symbols) -> Rows:
    """c_n = a_n e^{ch/2} + (e^{ch/2} - 1)(2 F(b_n) - F)/c, and the weights over c^3 h^2."""
    z = symbols.h * (symbols.rate or 0)
    e, root = symbols.exp(symbols.rate or 0), symbols.exp(Fraction(symbols.rate or 0, 2))
    scale = (symbols.rate or 0) * z**2
    half = phi(symbols, 1, HALF) / 2
    stages = {"k2": {"k1": half}, "k3": {"k2": half}, "k4": {"k1": half * root - half, "k3": 2 * half}}
    middle = 2 * (2 + z + e * (z - 2)) / scale
    weights = {
        "k1": (-4 - z + e * (4 - 3 * z + z**2)) / scale,
        "k2": middle,
        "k3": middle,
        "k4": (-4 - 3 * z - z**2 + e * (4 - z)) / scale,
    }
    return stage_rows(stages, weights)


def _simpson(symbols: Symbols) -> tuple[Any, Any, Any]:
    one, two, three = (phi(symbols, k) for k in (1, 2, 3))
    return one - 3 * two + 4 * three, 4 * two - 8 * three, 4 * three - two


def _krogstad_4(symbols: Symbols) -> Rows:
    """The tableau in phi functions."""
    one, two = phi(symbols, 1), phi(symbols, 2)
    one_half, two_half = phi(symbols, 1, HALF), phi(symbols, 2, HALF)
    stages = {
        "k2": {"k1": one_half / 2},
        "k3": {"k1": one_half / 2 - two_half, "k2": two_half},
        "k4": {"k1": one - 2 * two, "k3": 2 * two},
    }
    first, middle, last = _simpson(symbols)
    return stage_rows(stages, {"k1": first, "k2": middle / 2, "k3": middle / 2, "k4": last})


def _hochbruck_ostermann_4(symbols: Symbols) -> Rows:
    """The tableau in phi functions, a_52 = phi_{2,5}/2 - phi_{3,4} + phi_{2,4}/4 - phi_{3,5}/2."""
    one, two, three = (phi(symbols, k) for k in (1, 2, 3))
    one_half, two_half, three_half = (phi(symbols, k, HALF) for k in (1, 2, 3))
    a52 = two_half / 2 - three + two / 4 - three_half / 2
    a54 = two_half / 4 - a52
    stages = {
        "k2": {"k1": one_half / 2},
        "k3": {"k1": one_half / 2 - two_half, "k2": two_half},
        "k4": {"k1": one - 2 * two, "k2": two, "k3": two},
        "k5": {"k1": one_half / 2 - 2 * a52 - a54, "k2": a52, "k3": a52, "k4": a54},
    }
    first, middle, last = _simpson(symbols)
    return stage_rows(stages, {"k1": first, "k4": last, "k5": middle})


_EXPONENTIAL: Mapping[str, Callable[[Symbols], Rows]] = {
    "etd_rk3": _etd_rk3,
    "etd_rk4": _etd_rk4,
    "krogstad_4": _krogstad_4,
    "hochbruck_ostermann_4": _hochbruck_ostermann_4,
}


def _exponential(symbols: Symbols, order: int, method: str = "etd_rk4") -> Rows:  # noqa: ARG001
    return _EXPONENTIAL[method](symbols)


def _res_3s(
    symbols: Symbols,
    order: int,  # noqa: ARG001
    nodes: tuple[Fraction, Fraction] = (HALF, Fraction(1)),
    *,
    as_shipped: bool = False,
) -> Rows:
    """b_3 = phi_2/(gamma c_2 + c_3), b_2 = gamma b_3, a_32 = gamma c_2 phi_{2,2} + (c_3^2/c_2) phi_{2,3}."""
    c2, c3 = nodes
    gamma = (3 * c3 ** (3 if as_shipped else 2) - 2 * c3) / (c2 * (2 - 3 * c2))
    a32 = gamma * c2 * phi(symbols, 2, c2) + c3**2 / c2 * phi(symbols, 2, c3)
    b3 = phi(symbols, 2) / (gamma * c2 + c3)
    stages = {"k2": {"k1": c2 * phi(symbols, 1, c2)}, "k3": {"k1": c3 * phi(symbols, 1, c3) - a32, "k2": a32}}
    return stage_rows(stages, {"k1": phi(symbols, 1) - gamma * b3 - b3, "k2": gamma * b3, "k3": b3})


_EXPONENTIAL_SOURCE = (
    "Cox and Matthews, J. Comput. Phys. 176 (2002), eqs. (23)-(29); "
    "Krogstad, J. Comput. Phys. 203 (2005), eq. (51); "
    "Hochbruck and Ostermann, SIAM J. Numer. Anal. 43 (2005), section 5"
)


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "exponential_runge_kutta": (Published(_EXPONENTIAL_SOURCE, (-1, 1), (3, 4), _exponential),),
        "res_3s": (
            Published("arXiv:2308.02157; Hochbruck and Ostermann (2005), three stages", (-1, 1), (3, 3), _res_3s),
        ),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""
