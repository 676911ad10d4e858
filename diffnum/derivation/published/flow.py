"""Formulas of methods for flow matching, as shipped."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.printing.notation import Published, Rows

__all__ = ["PUBLISHED"]

HALF = Fraction(1, 2)


def _pseudo_corrector(symbols: Symbols, order: int) -> Rows:  # noqa: ARG001
    """X~ = x_i + h d_i; d_{i+1} = v(x~, t_{i+1}); x_{i+1} = x_i + h/2 (d_i + d_{i+1})."""
    h = symbols.h
    return {"k1": {"m0": h}, "x": {"m0": h / 2, "k1": h / 2}}


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "pseudo_corrector": (
            Published(
                "FlowTurbo; shiml20/FlowTurbo at 361b16ba, transport/integrators.py", (0,), (2, 2), _pseudo_corrector
            ),
        ),
    }
)
"""Family -> formulas, in data and in noise prediction where both are printed."""
