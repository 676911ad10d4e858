"""Theorems on DPM-Solver singlestep: all inner nodes, and the one that has order 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

import sympy

from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Rule
from diffnum.derivation import DERIVATIONS, Identity
from diffnum.derivation.algebra.bseries import Expansion, expand
from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.published import PUBLISHED
from diffnum.proofs.claims import decide
from diffnum.proofs.orders import as_expression
from diffnum.proofs.steps import (
    Case,
    published_difference,
    step_difference,
    top_placement,
)
from diffnum.tableau import Window

__all__ = ["THEOREMS"]


_INNER = ("r_1", "r_2")
"""Symbols of inner nodes."""


def _dpm_solver(top: Case) -> Iterator[Identity]:
    record = top.record
    if record.singlestep:
        return
    yield decide("for all inner nodes derived == shipped == published", lambda: _free_nodes(record))
    claim = "for all inner nodes the order is 2" + (", and 3 if and only if r_2 = 2/3" if record.top == 3 else "")
    yield decide(claim, lambda: _order_of_free_nodes(record))


def _free_nodes(record: Method) -> str:
    """The three roads with symbols for the inner nodes."""
    place, rate, names = top_placement(record), record.form.rate, _INNER[: record.top - 1]
    symbols = Symbols.make(0, rate, free=names)
    nodes, variant = tuple(symbols[name] for name in names), record.options["variant"]
    step = place.rule(Window(symbols.h, (), symbols.shipped_kernel(), inner=nodes), place.order)
    road = Window(symbols.h, (), symbols.derived_kernel())
    other = DERIVATIONS[record.family](road, place.order, rate, variant=variant, nodes=nodes).step
    formula = next(f for f in PUBLISHED[record.family] if f.covers(rate, place.order))
    rows = formula.rows(symbols, place.order, variant=variant, nodes=nodes)
    return step_difference(other, step) or published_difference(rows, step)


def _order_of_free_nodes(record: Method) -> str:
    """Order 2 at free nodes; for three stages 3 where r_2 = 2/3, and an error in proportion to 3 r_2 - 2 elsewhere."""
    place, names, third = top_placement(record), _INNER[: record.top - 1], Fraction(2, 3)

    def expansion(*last: Fraction) -> Expansion:
        free = names[: len(names) - len(last)]

        def prepare(symbol: Callable[[str], Any]) -> Rule:
            inner = (*map(symbol, free), *last)
            return lambda window, order: place.rule(replace(window, inner=inner), order)

        return expand(place.rule, place.order, rate=record.form.rate, highest=record.top, extra=free, prepare=prepare)

    found = expansion()
    if found.order != 2:
        return f"the order is {found.order}"
    if record.top < 3:
        return ""
    if (order := expansion(third).order) != 3:
        return f"with r_2 = 2/3 the order is {order}"
    errors = [sympy.cancel(as_expression(r.leading) / (sympy.Symbol("r_2") - third)) for r in found.failing]
    # a numerator of one term vanishes where a node does, which is excluded
    only = any(len(sympy.Add.make_args(sympy.expand(sympy.fraction(e)[0]))) == 1 for e in errors)
    return "" if only else f"the errors are {[str(r.leading) for r in found.failing]}"


THEOREMS: Final[Mapping[str, Callable[[Case], Iterator[Identity]]]] = MappingProxyType({"dpm_solver": _dpm_solver})
