"""Theorems on exponential Adams methods: what they are equal to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import sympy

from diffnum.coefficients.adams import ddim
from diffnum.coefficients.catalogue import method as find_method
from diffnum.derivation import Identity
from diffnum.derivation.algebra.symbols import Symbols, is_zero
from diffnum.forms import ExponentialKernel
from diffnum.proofs.claims import decide
from diffnum.proofs.steps import (
    Case,
    step_difference,
    top_case,
)

__all__ = ["THEOREMS"]


def _adams(top: Case) -> Iterator[Identity]:
    if top.placement.order == 1 and top.rate:
        yield decide("DDIM makes the same state of data, noise and rho", _ddim_everywhere)


def _dpmpp_3m_corrected(top: Case) -> Iterator[Identity]:
    yield decide("the weights are those of eab_3", lambda: _same_as(top, "eab_3"))


def _ddim_everywhere() -> str:
    """One step from (alpha_0, sigma_0) to (alpha_1, sigma_1), with x_0 = (x - sigma_0 eps)/alpha_0 for data."""
    a0, s0, a1, s1 = sympy.symbols("alpha_0 sigma_0 alpha_1 sigma_1", positive=True)
    x, eps, h = sympy.symbols("x epsilon h")
    ratio = (s1 / a1) / (s0 / a0)  # exp(-h)
    log_snr = {sympy.exp(-h): ratio, sympy.exp(h): 1 / ratio}

    def weight(rate: int) -> sympy.Expr:
        value = ddim(ExponentialKernel(Symbols.make(rate=rate).h, rate))[0]
        return value.as_expr().xreplace(log_snr if rate else {h: s1 / a1 - s0 / a0})

    states = (
        s1 / s0 * x + a1 * weight(-1) * (x - s0 * eps) / a0,
        a1 / a0 * x - s1 * weight(1) * eps,
        a1 / a0 * x + a1 * weight(0) * eps,
    )
    return "" if all(is_zero(state - states[0]) for state in states) else f"the states are {states}"


def _same_as(top: Case, other: str) -> str:
    return step_difference(top.shipped, top_case(find_method(other)).shipped_in(top.symbols))


THEOREMS: Final[Mapping[str, Callable[[Case], Iterator[Identity]]]] = MappingProxyType(
    {"adams": _adams, "dpmpp_3m_corrected": _dpmpp_3m_corrected}
)
