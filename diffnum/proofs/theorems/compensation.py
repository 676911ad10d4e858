"""Theorems on DC-Solver: the ratio 1, and what any other leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import sympy

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.derivation import Identity
from diffnum.derivation.algebra.bseries import expand
from diffnum.derivation.algebra.symbols import is_zero
from diffnum.proofs.claims import decide
from diffnum.proofs.orders import as_expression, furnished
from diffnum.proofs.steps import (
    Case,
    step_difference,
    top_placement,
)
from diffnum.tableau import Window

__all__ = ["THEOREMS"]


def _dc_solver(top: Case) -> Iterator[Identity]:
    yield decide("with ratios 1 the weights are those of UniPC", lambda: _is_unipc(top))
    yield decide("a ratio other than 1 leaves order 1", lambda: _compensated_order(top.record))


def _is_unipc(top: Case) -> str:
    """Compensation with ratio 1 against UniPC of the same order and variant."""
    record, place, symbols = top.record, top.placement, top.symbols
    noise = "_noise" if top.rate == 1 else ""
    relative = find_method(f"unipc_{record.top}_{record.options['variant']}{noise}")
    window = Window(
        symbols.h, symbols.past, symbols.shipped_kernel(), place.known, place.depth, place.last, past_times=symbols.past
    )
    return step_difference(furnished(record, record.rule)(window, place.order), relative.rule(window, place.order))


def _compensated_order(record: Method) -> str:
    """Order 1, and a leading error in proportion to 1 - rho."""
    place = top_placement(record)
    found = expand(
        place.rule,
        place.order,
        rate=record.form.rate,
        past=record.depth,
        known=place.known,
        depth=place.depth,
        highest=1,
        extra=("rho",),
        prepare=lambda symbol: furnished(record, place.rule, symbol("rho")),
    )
    if found.order != 1:
        return f"the order is {found.order}"
    for residual in found.failing:
        if not is_zero(as_expression(residual.leading).subs(sympy.Symbol("rho"), 1)):
            return f"the coefficient {residual.leading} of {residual.tree} does not vanish at rho = 1"
    return ""


THEOREMS: Final[Mapping[str, Callable[[Case], Iterator[Identity]]]] = MappingProxyType({"dc_solver": _dc_solver})
