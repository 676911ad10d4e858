"""Printed formulas of the one-step methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.notation import Published, Rows, phi, psi, sign
from diffnum.derivation.symbols import Symbols
from diffnum.derivation.tableaux import printed

__all__ = ["ONE_STEP"]

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def _rows(stages: Mapping[str, Mapping[str, Any]], weights: Mapping[str, Any]) -> Rows:
    """Rows of stages and of the state."""
    return {name: dict(row) for name, row in stages.items()} | {"x": dict(weights)}


# -- plain clocks --------------------------------------------------------------------------------------


def _heun(symbols: Symbols, order: int) -> Rows:
    """X' = x + (t' - t) d;  x = x + (t' - t)(d/2 + d'/2)."""
    h = symbols.h
    return {"x": {"k1": h}} if order == 1 else {"k2": {"k1": h}, "x": {"k1": h / 2, "k2": h / 2}}


def _tableau(symbols: Symbols, order: int, tableau: str = "rk4", node: Fraction | None = None) -> Rows:
    """X_i = x + h sum_j a_ij k_j;  x' = x + h sum_i b_i k_i."""
    _, stages, b = printed(order, tableau, node)
    names = [f"k{i}" for i in range(1, len(b) + 1)]
    rows = {
        name: {source: symbols.h * a for source, a in zip(names, row, strict=False)}
        for name, row in list(zip(names, stages, strict=True))[1:]
    }
    return _rows(rows, {name: symbols.h * w for name, w in zip(names, b, strict=True)})


def _pseudo_corrector(symbols: Symbols, order: int) -> Rows:  # noqa: ARG001
    """X~ = x_i + h d_i; d_{i+1} = v(x~, t_{i+1}); x_{i+1} = x_i + h/2 (d_i + d_{i+1})."""
    h = symbols.h
    return {"k1": {"m0": h}, "x": {"m0": h / 2, "k1": h / 2}}


# -- DPM-Solver ----------------------------------------------------------------------------------------


def _dpm_solver(symbols: Symbols, order: int, variant: str = "dpmsolver", nodes: tuple[Fraction, ...] = ()) -> Rows:
    """DPM-Solver-1, -2, -3 with r_1, r_2, in the terms D_1 and D_2 of the code."""
    sign_, first = sign(symbols), sign(symbols) * psi(symbols, 1)
    if order == 1:
        return {"x": {"k1": first}}
    if order == 2:
        (r1,) = nodes if len(nodes) == 1 else (HALF,)
        # C psi_1 (F_1 - F_s)/(2 r_1), or C psi_2 (F_1 - F_s)/r_1
        difference = first / (2 * r1) if variant == "dpmsolver" else sign_ * psi(symbols, 2) / r1
        return {"k2": {"k1": sign_ * psi(symbols, 1, r1)}, "x": {"k1": first - difference, "k2": difference}}
    r1, r2 = nodes or (THIRD, 2 * THIRD)
    inner = sign_ * r2 / r1 * psi(symbols, 2, r2)
    stages = {
        "k2": {"k1": sign_ * psi(symbols, 1, r1)},
        "k3": {"k1": sign_ * psi(symbols, 1, r2) - inner, "k2": inner},
    }
    second = sign_ * psi(symbols, 2)
    if variant == "dpmsolver":
        return _rows(stages, {"k1": first - second / r2, "k3": second / r2})
    # a = (F_1 - F_s)/r_1, b = (F_2 - F_s)/r_2, D_1 = (r_2 a - r_1 b)/(r_2 - r_1), D_2 = 2 (b - a)/(r_2 - r_1)
    third = sign_ * psi(symbols, 3)
    a = (second * r2 - 2 * third) / (r2 - r1)
    b = (2 * third - second * r1) / (r2 - r1)
    return _rows(stages, {"k1": first - a / r1 - b / r2, "k2": a / r1, "k3": b / r2})


# -- exponential Runge-Kutta methods -------------------------------------------------------------------


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
    return _rows(stages, weights)


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
    return _rows(stages, weights)


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
    return _rows(stages, {"k1": first, "k2": middle / 2, "k3": middle / 2, "k4": last})


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
    return _rows(stages, {"k1": first, "k4": last, "k5": middle})


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
    return _rows(stages, {"k1": phi(symbols, 1) - gamma * b3 - b3, "k2": gamma * b3, "k3": b3})


_EXPONENTIAL_SOURCE = (
    "Cox and Matthews, J. Comput. Phys. 176 (2002), eqs. (23)-(29); "
    "Krogstad, J. Comput. Phys. 203 (2005), eq. (51); "
    "Hochbruck and Ostermann, SIAM J. Numer. Anal. 43 (2005), section 5"
)
_DPM_SOURCE = "LuChengTHU/dpm-solver at 52bc3fbc, singlestep updates; arXiv:2206.00927"

ONE_STEP: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "heun": (Published("arXiv:2206.00364, algorithm 1", (0,), (1, 2), _heun),),
        "explicit_runge_kutta": (Published("the tableau as printed", (0,), (1, 6), _tableau),),
        "pseudo_corrector": (
            Published(
                "FlowTurbo; shiml20/FlowTurbo at 361b16ba, transport/integrators.py", (0,), (2, 2), _pseudo_corrector
            ),
        ),
        "dpm_solver": (Published(_DPM_SOURCE, (-1, 1), (1, 3), _dpm_solver),),
        "exponential_runge_kutta": (Published(_EXPONENTIAL_SOURCE, (-1, 1), (3, 4), _exponential),),
        "res_3s": (
            Published("arXiv:2308.02157; Hochbruck and Ostermann (2005), three stages", (-1, 1), (3, 3), _res_3s),
        ),
    }
)
"""Formulas of the one-step families."""
