"""Formulas of dynamic compensation, as shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.printing.notation import Published, Rows
from diffnum.derivation.published.predictor_corrector import unipc

__all__ = ["PUBLISHED"]


def _dc_solver(symbols: Symbols, order: int, variant: str = "bh2", degree: int = 2) -> Rows:
    """UniPC; m0 <- sum_j M_j prod_{k != j} (t - t_k)/(t_j - t_k) at t = rho t_n + (1 - rho) t_{n-1}."""
    times = [symbols.constant(0), *(symbols[f"theta_{j}"] for j in range(1, degree + 1))]
    t = symbols["rho"] * times[0] + (1 - symbols["rho"]) * times[1]
    one = symbols.constant(1)
    lagrange = [prod(((t - b) / (a - b) for b in times if b is not a), start=one) for a in times]
    rows = unipc(symbols, order, variant)
    return {name: _compensated(row, lagrange) for name, row in rows.items()}


def _compensated(row: Mapping[str, Any], lagrange: Sequence[Any]) -> dict[str, Any]:
    newest = row["m0"]
    compensated = {name: weight for name, weight in row.items() if name != "m0"}
    for j, factor in enumerate(lagrange):
        name = f"m{j}"
        compensated[name] = compensated.get(name, 0) + newest * factor
    return compensated


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "dc_solver": (Published("wl-zhao/DC-Solver at f82d0601, dc_solver.py", (-1, 1), (1, 99), _dc_solver),),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""
