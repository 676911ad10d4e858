"""Theorems on UniP and UniC: the Adams methods that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from diffnum.coefficients.catalogue import method as find_method
from diffnum.derivation import Identity
from diffnum.derivation.adams import moment_weights
from diffnum.proofs.claims import decide
from diffnum.proofs.steps import (
    Case,
    row_difference,
    top_case,
)

__all__ = ["THEOREMS"]


def _unip(top: Case, *, corrected: bool = False) -> Iterator[Identity]:
    order, variant = top.placement.order, top.record.options.get("variant", "vary_coeff")
    exact = order >= 3 or variant == "vary_coeff"  # elsewhere the authors put 1/2 for the solution
    if order >= 2 and exact:
        yield decide(f"the predictor is eab_{order}", lambda: _predictor_is(top, f"eab_{order}", corrected=corrected))
    elif order == 2 and variant == "bh2":
        yield decide("the predictor is dpmpp_2m", lambda: _predictor_is(top, "dpmpp_2m", corrected=corrected))


def _unipc(top: Case) -> Iterator[Identity]:
    yield from _unip(top, corrected=True)
    if top.placement.order >= 2 and top.record.options.get("fixed", True):
        claim = "the corrector is the Adams-Moulton method on one node more"
        yield decide(claim, lambda: _corrector_is_moulton(top))


def _predictor_is(top: Case, other: str, *, corrected: bool) -> str:
    predicted = top.shipped.stages[-1].value if corrected else top.shipped.x
    predictor = {"k1" if name == "m0" else name: w for name, w in predicted.items()}
    return row_difference("x", predictor, top_case(find_method(other)).shipped_in(top.symbols).x)


def _corrector_is_moulton(top: Case) -> str:
    place, symbols, step = top.placement, top.symbols, top.shipped
    nodes = (Fraction(0), *symbols.past[: place.order - 1], Fraction(1))
    kernel = symbols.derived_kernel()
    weights = moment_weights(nodes, [kernel.moment(k) for k in range(len(nodes))])
    newest = "m0" if "m0" in place.known else "k1"
    names = (newest, *(f"m{j}" for j in range(1, place.order)), f"k{step.nfe}")
    moulton = {"x": 1, **dict(zip(names, weights, strict=True))}
    return row_difference("x", moulton, step.x)


THEOREMS: Final[Mapping[str, Callable[[Case], Iterator[Identity]]]] = MappingProxyType(
    {"unip": _unip, "unipc": _unipc, "unipc_pece": _unipc, "unipc_vary": _unipc}
)
