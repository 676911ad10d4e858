"""Formulas with the weights of constant steps, as printed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.printing.notation import HNW, Published, Rows
from diffnum.derivation.printing.notation import ratios as _steps
from diffnum.derivation.published.adams import explicit_adams, implicit_adams, step_times, vector_names
from diffnum.derivation.published.predictor_corrector import PAIR_NAMES

__all__ = ["PUBLISHED"]


_ADAMS_BASHFORTH: Mapping[int, tuple[tuple[int, ...], int]] = MappingProxyType(
    {
        1: ((1,), 1),
        2: ((3, -1), 2),
        3: ((23, -16, 5), 12),
        4: ((55, -59, 37, -9), 24),
        5: ((1901, -2774, 2616, -1274, 251), 720),
    }
)
_ADAMS_MOULTON: Mapping[int, tuple[tuple[int, ...], int]] = MappingProxyType(
    {
        1: ((1,), 1),
        2: ((1, 1), 2),
        3: ((5, 8, -1), 12),
        4: ((9, 19, -5, 1), 24),
        5: ((251, 646, -264, 106, -19), 720),
    }
)


def _table(entry: tuple[tuple[int, ...], int]) -> list[Fraction]:
    return [Fraction(numerator, entry[1]) for numerator in entry[0]]


def _plms(symbols: Symbols, order: int) -> Rows:
    """Slope (55 e_n - 59 e_{n-1} + 37 e_{n-2} - 9 e_{n-3})/24, and so on."""
    return {
        "x": {name: symbols.h * w for name, w in zip(vector_names(order), _table(_ADAMS_BASHFORTH[order]), strict=True)}
    }


def _ipndm_v(symbols: Symbols, order: int) -> Rows:
    """Coefficients coeff1 to coeff4 of the code, with h_n = 1."""
    h = [symbols.constant(1), *_steps(symbols)]  # h_n, h_n_1, h_n_2, h_n_3
    coeff = [symbols.constant(1)]
    if order > 1:
        coeff = [(2 + h[0] / h[1]) / 2, -(h[0] / h[1]) / 2]
    if order > 2:
        temp1 = (1 - h[0] / (3 * (h[0] + h[1])) * (h[0] * (h[0] + h[1])) / (h[1] * (h[1] + h[2]))) / 2
        coeff = [coeff[0] + temp1, coeff[1] - (1 + h[1] / h[2]) * temp1, temp1 * h[1] / h[2]]
    if order > 3:
        temp2 = (
            (1 - h[0] / (3 * (h[0] + h[1]))) / 2 + (1 - h[0] / (2 * (h[0] + h[1]))) * h[0] / (6 * (h[0] + h[1] + h[2]))
        ) * (h[0] * (h[0] + h[1]) * (h[0] + h[1] + h[2]))
        temp2 = temp2 / (h[1] * (h[1] + h[2]) * (h[1] + h[2] + h[3]))
        w = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
        coeff = [
            coeff[0] + temp2,
            coeff[1] - (1 + h[1] / h[2] + w) * temp2,
            coeff[2] + (h[1] / h[2] + w * (1 + h[2] / h[3])) * temp2,
            -temp2 * w * h[1] / h[2],
        ]
    return {"x": {name: symbols.h * c for name, c in zip(vector_names(order), coeff, strict=True)}}


def _abm(symbols: Symbols, order: int, mode: str = "pece", variable: bool = False) -> Rows:
    """Predictor and corrector from the tables, or from the recursions on arbitrary nodes."""
    if variable:
        predictor, corrector = (f(step_times(symbols), order) for f in (explicit_adams, implicit_adams))
    else:
        predictor, corrector = _table(_ADAMS_BASHFORTH[order]), _table(_ADAMS_MOULTON[order])
    row, newest, new = PAIR_NAMES[mode]
    names = vector_names(order, newest)
    return {
        row: {name: symbols.h * w for name, w in zip(names, predictor, strict=True)},
        "x": {name: symbols.h * w for name, w in zip([new, *names[: order - 1]], corrector, strict=True)},
    }


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "plms": (Published(f"luping-liu/PNDM at e771949c, gen_order_4; {HNW}.1, table 1.1", (0,), (1, 5), _plms),),
        "ipndm_v": (Published("zju-pi/diff-sampler at 68d5ce42, ipndm_v_sampler", (0,), (1, 4), _ipndm_v),),
        "abm": (Published(f"{HNW}.1, tables 1.1 and 1.2, and section III.5", (0,), (1, 5), _abm),),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""
