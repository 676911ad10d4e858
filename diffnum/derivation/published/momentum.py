"""Formulas with momentum, as printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import comb
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.printing.notation import ANY_ORDER, HNW, Published, Rows
from diffnum.derivation.printing.notation import psi as _psi
from diffnum.derivation.printing.notation import sign as _sign
from diffnum.derivation.published.adams import PUBLISHED as ADAMS
from diffnum.derivation.published.adams import explicit_adams, implicit_adams, step_times, vector_names
from diffnum.derivation.records import OnBases

__all__ = ["PUBLISHED"]


Formulas: TypeAlias = Mapping[str, tuple[Published, ...]]
"""Family -> formulas."""

_GHVB: Mapping[int, Callable[[Any], tuple[Any, ...]]] = MappingProxyType(
    {
        1: lambda b: (b,),
        2: lambda b: ((2 + b) / 2, -(2 - b) / 2),
        3: lambda b: ((18 + 5 * b) / 12, -(24 - 8 * b) / 12, (6 - b) / 12),
        4: lambda b: ((46 + 9 * b) / 24, -(78 - 19 * b) / 24, (42 - 5 * b) / 24, -(10 - b) / 24),
        5: lambda b: (
            (1650 + 251 * b) / 720,
            -(3420 - 646 * b) / 720,
            (2880 - 264 * b) / 720,
            -(1380 - 106 * b) / 720,
            (270 - 19 * b) / 720,
        ),
    }
)


def _ghvb_series(order: int, beta: Any) -> tuple[Any, ...]:
    """(beta + (1 - beta) t) G(t), t the backward difference and G(t) = -t/((1 - t) log(1 - t)), truncated."""
    log = [Fraction(1, k + 1) for k in range(order)]  # -log(1 - t)/t
    denominator = [log[k] - (log[k - 1] if k else 0) for k in range(order)]
    g: list[Any] = []
    for k in range(order):
        g.append(Fraction(k == 0) - sum((denominator[k - i] * g[i] for i in range(k)), Fraction(0)))
    product = [beta * g[k] + ((1 - beta) * g[k - 1] if k else 0) for k in range(order)]
    return tuple(
        sum((product[k] * (comb(k, j) * (-1) ** j) for k in range(j, order)), Fraction(0)) for j in range(order)
    )


def _ghvb(symbols: Symbols, order: int, beta: Any = 1) -> Rows:
    """V <- (1 - beta) v + beta eps;  xbar' = xbar + (sbar' - sbar) [sum_j w_j(beta) v_j]/beta."""
    printed = _GHVB[order](beta) if order in _GHVB else _ghvb_series(order, beta)
    weights = [symbols.h * w / beta for w in printed]
    if order == 1:
        return {"x": {"k1": weights[0] * beta, "v1": weights[0] * (1 - beta)}}
    row = {"k1": weights[0] * beta, "v1": weights[0] * (1 - beta) + weights[1]}
    return {"x": row | {f"v{j}": w for j, w in enumerate(weights[2:], start=2)}}


def _ghvb_variable(symbols: Symbols, order: int, beta: Any = 1) -> Rows:
    """S_n = p_n + (1 - beta)(s_{n-1} - q_n), p_n explicit over this step, q_n implicit over the step before."""
    times = step_times(symbols)
    ahead = explicit_adams(times, order)
    if order == 1:
        behind = [symbols.constant(1)]
    else:
        length = -symbols.past[0]
        shifted = [(t - symbols.past[0]) / length for t in times[1:]]
        behind = implicit_adams(shifted, order)
    row = {
        name: symbols.h * (p - (1 - beta) * q) for name, p, q in zip(vector_names(order), ahead, behind, strict=True)
    }
    return {"x": row | {"v1": symbols.h * (1 - beta)}}


def _heavy_ball(
    symbols: Symbols,
    order: int,
    beta: Any = 1,
    base: str = "plms",
    settings: Mapping[str, Any] = MappingProxyType({}),
    slope: int = 0,
    *,
    bases: Formulas,
) -> Rows:
    """V <- (1 - beta) v + beta p;  the step is made with v, or with (1 - beta) v + beta p."""
    formula = next(f for f in bases[base] if f.covers(symbols.rate, order))
    rows = formula.rows(symbols, order, **settings)
    whole = _sign(symbols) * _psi(symbols, 1) if symbols.rate else symbols.h if symbols.rate == 0 else symbols["M_0"]
    of_slope, of_velocity = beta, 1 - beta
    if slope:
        of_slope, of_velocity = (1 - beta) * beta + beta, (1 - beta) * (1 - beta)
    row = {name: of_slope * w for name, w in rows["x"].items()}
    return {**rows, "x": row | {"v1": whole * of_velocity}}


def _nesterov(
    symbols: Symbols,
    order: int,
    beta: Any = 1,
    base: str = "plms",
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    bases: Formulas,
) -> Rows:
    """V as in HB;  u = (1 - beta) v + beta p."""
    return _heavy_ball(symbols, order, beta, base, settings, slope=1, bases=bases)


def _mdpm2(symbols: Symbols, order: int, beta: Any = 1, first: str = "evaluation") -> Rows:  # noqa: ARG001
    """V <- (1 - beta) v + beta (x0 + D/2);  x_t = A x - C psi_1 v."""
    return _heavy_ball(symbols, order, beta, "dpmpp_2m", bases=ADAMS)


ALL_RATES = (-1, 0, 1, None)
_MOMENTUM_CODE = "sWizad/momentum-diffusion at 7d324104"


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "ghvb": (Published(f"{_MOMENTUM_CODE}, GHVBScheduler; arXiv:2307.11118", (0,), (1, ANY_ORDER), _ghvb),),
        "ghvb_variable": (
            Published(f"slopes of {HNW}.5 in the recursion of GHVB", (0,), (1, ANY_ORDER), _ghvb_variable),
        ),
        "mdpm2": (Published(f"{_MOMENTUM_CODE}, dpm_guided, mdpm2", (-1, 1), (2, 2), _mdpm2),),
        "heavy_ball": (
            Published(
                f"{_MOMENTUM_CODE}, PLMSWithHBScheduler; arXiv:2307.11118",
                ALL_RATES,
                (1, ANY_ORDER),
                OnBases(_heavy_ball),
            ),
        ),
        "nesterov": (
            Published(f"{_MOMENTUM_CODE}, PLMSWithNTScheduler", ALL_RATES, (1, ANY_ORDER), OnBases(_nesterov)),
        ),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""
