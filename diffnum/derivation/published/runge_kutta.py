"""Printed formulas of the one-step methods."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.printing.notation import Published, Rows, psi, sign
from diffnum.derivation.tableaux import printed

__all__ = ["PUBLISHED"]

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def stage_rows(stages: Mapping[str, Mapping[str, Any]], weights: Mapping[str, Any]) -> Rows:
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
    return stage_rows(rows, {name: symbols.h * w for name, w in zip(names, b, strict=True)})


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
        return stage_rows(stages, {"k1": first - second / r2, "k3": second / r2})
    # a = (F_1 - F_s)/r_1, b = (F_2 - F_s)/r_2, D_1 = (r_2 a - r_1 b)/(r_2 - r_1), D_2 = 2 (b - a)/(r_2 - r_1)
    third = sign_ * psi(symbols, 3)
    a = (second * r2 - 2 * third) / (r2 - r1)
    b = (2 * third - second * r1) / (r2 - r1)
    return stage_rows(stages, {"k1": first - a / r1 - b / r2, "k2": a / r1, "k3": b / r2})


_DPM_SOURCE = "LuChengTHU/dpm-solver at 52bc3fbc, singlestep updates; arXiv:2206.00927"


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "heun": (Published("arXiv:2206.00364, algorithm 1", (0,), (1, 2), _heun),),
        "explicit_runge_kutta": (Published("the tableau as printed", (0,), (1, 6), _tableau),),
        "dpm_solver": (Published(_DPM_SOURCE, (-1, 1), (1, 3), _dpm_solver),),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""
