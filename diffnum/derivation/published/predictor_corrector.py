r"""UniPC exactly as its authors print and ship it; notation as in :mod:`diffnum.derivation.published`."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import factorial
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.symbols import Symbols, solve
from diffnum.derivation.printing.notation import ANY_ORDER, UNIPC_CODE, Published, Rows
from diffnum.derivation.printing.notation import psi as _psi
from diffnum.derivation.printing.notation import rate as _rate
from diffnum.derivation.printing.notation import sign as _sign

__all__ = ["PUBLISHED", "unipc"]

HALF = Fraction(1, 2)

PAIR_NAMES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {"pec": ("k1", "m0", "k1"), "pece": ("k2", "k1", "k2")}
)
"""Row of the predicted state, the evaluation at the current node and that at the new one, by mode."""


def _uni(symbols: Symbols, ratios: list[Any], names: list[str], newest: str, variant: str) -> dict[str, Any]:
    """Base - C B sum_m rho_m D_m, D_m = (F_m - F_0)/r_m, with R rho = b, R_im = r_m^{i-1}, b_i = i! psi_{i+1}(z)/B."""
    z = _rate(symbols) * symbols.h
    b_function = z if variant == "bh1" else symbols.exp(_rate(symbols)) - 1
    count = range(1, len(ratios) + 1)
    if len(ratios) == 1:
        rho: tuple[Any, ...] = (HALF,)
    else:
        right = [factorial(i) * _psi(symbols, i + 1) / b_function for i in count]
        rho = solve([[r ** (i - 1) for r in ratios] for i in count], right)
    sign = _sign(symbols)
    row = {newest: sign * _psi(symbols, 1)}
    for weight, ratio, name in zip(rho, ratios, names, strict=True):
        difference = sign * b_function * weight / ratio
        row[name] = difference
        row[newest] = row[newest] - difference
    return row


def unipc(symbols: Symbols, order: int, variant: str = "bh2", mode: str = "pec", correct_last: bool = False) -> Rows:  # noqa: ARG001
    """Predictor and corrector of order p, with the weight 1/2 where one ratio is left."""
    past, names = list(symbols.past[: order - 1]), [f"m{j}" for j in range(1, order)]
    row, newest, new = PAIR_NAMES[mode]
    return {
        row: _uni(symbols, past, names, newest, variant),
        "x": _uni(symbols, [*past, symbols.constant(1)], [*names, new], newest, variant),
    }


def unip(symbols: Symbols, order: int, variant: str = "bh2") -> Rows:
    """Predictor alone."""
    return {"x": _uni(symbols, list(symbols.past), [f"m{j}" for j in range(1, order)], "k1", variant)}


def unipc_vary(symbols: Symbols, order: int, fixed: bool = False) -> Rows:
    """M_{m,k} = r_m^k/(k+1)!, P and W inverses of its leading blocks; D_m = (F_m - F_0)/r_m.

    x_p = base - C sum_k psi_{k+2} sum_j P_{k,j} D_j;  x_c the same with W, of which the code keeps rows k < q - 1 for
    the old differences and psi_{q+1} W_{q-2,q} D_q for the new one.
    """
    ratios = [*symbols.past[: order - 1], symbols.constant(1)]
    psi = [_sign(symbols) * _psi(symbols, k) for k in range(1, order + 2)]

    def inverse(size: int) -> list[list[Any]]:
        matrix = [[ratios[m] ** k / factorial(k + 1) for k in range(size)] for m in range(size)]
        columns = [solve(matrix, [symbols.constant(int(m == j)) for m in range(size)]) for j in range(size)]
        return [[column[k] for column in columns] for k in range(size)]

    def row(weights: list[Any], names: list[str]) -> dict[str, Any]:
        base = {"m0": psi[0]}
        for weight, ratio, name in zip(weights, ratios, names, strict=False):
            base[name] = weight / ratio
            base["m0"] = base["m0"] - weight / ratio
        return base

    names = [*(f"m{j}" for j in range(1, order)), "k1"]
    p, w = inverse(order - 1), inverse(order)
    predictor = [sum((psi[k + 1] * p[k][j] for k in range(order - 1)), 0) for j in range(order - 1)]
    rows = order if fixed or order == 1 else order - 1
    corrector = [sum((psi[k + 1] * w[k][j] for k in range(rows)), 0) for j in range(order)]
    if rows < order:
        corrector[-1] = psi[order] * w[order - 2][-1]
    return {"k1": row(predictor, names), "x": row(corrector, names)}


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "unip": (Published(f"arXiv:2302.04867; {UNIPC_CODE}", (-1, 1), (1, ANY_ORDER), unip),),
        "unipc": (Published(f"arXiv:2302.04867, theorem 3.1; {UNIPC_CODE}", (-1, 1), (1, ANY_ORDER), unipc),),
        "unipc_pece": (Published("arXiv:2302.04867, theorem 3.1, re-evaluated", (-1, 1), (1, ANY_ORDER), unipc),),
        "unipc_vary": (Published(f"{UNIPC_CODE}, multistep_uni_pc_vary_update", (-1, 1), (1, ANY_ORDER), unipc_vary),),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""
