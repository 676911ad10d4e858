"""Theorems on the stochastic steps of flow models: the equation that is approached, and what is lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import sympy

from diffnum.coefficients.flow_sde import DIVISIONS, Place
from diffnum.derivation import Identity
from diffnum.derivation.algebra.reverse import covariance
from diffnum.derivation.algebra.symbols import is_zero
from diffnum.derivation.flow_sde import RATES, end_of, fokker_planck, stationary_variance
from diffnum.proofs.claims import decide
from diffnum.proofs.steps import Case

__all__ = ["THEOREMS"]


def _marginals() -> Iterator[Identity]:
    claim = "with half the squared diffusion times the score, any g(s) keeps the marginals (Fokker-Planck)"

    def difference() -> str:
        defect, at_half_score = fokker_planck()
        return "" if at_half_score == 0 and defect != 0 else f"the equation leaves {at_half_score}"

    yield decide(claim, difference)


def _equation(family: str) -> str:
    """Whether ``1 - d = tau^2 h`` and ``v = 2 tau^2 h`` to first order, with the tau of the family."""
    start, h, level = sympy.symbols("s h level", positive=True)
    end = end_of(start, sympy.exp(-h))
    lost, variance = DIVISIONS[family].split(Place((start, end), (1 - start, 1 - end), 1 - end / start), level)
    squared = RATES[family](level, start)
    for found, expected in ((lost / end, squared), (variance / end**2, 2 * squared)):
        rate = sympy.diff(found, h).subs(h, 0)
        if not is_zero(rate - expected) or not is_zero(found.subs(h, 0)):
            return f"the rate is {sympy.simplify(rate)} against {expected}"
    return ""


def _approached(top: Case) -> Iterator[Identity]:
    family = top.record.family
    level, s = sympy.symbols("level s", positive=True)
    claim = f"the reverse equation of eta^2 = {RATES[family](level, s)} is approached"
    yield decide(claim, lambda: _equation(family))


def _excess(top: Case) -> str:
    """Variance of known data after a step: 1 + (delta (1 - varrho) + delta^2/4)/varrho^2, with the new noise delta."""
    row, symbols = top.shipped.x, top.symbols
    state, noise = row["x"], covariance(row, row)
    ratio = end_of(symbols["s_0"], symbols["E"]) / symbols["s_0"]
    new = noise * ratio * ratio
    expected = 1 + (new * (1 - ratio) + new * new / 4) / (ratio * ratio)
    found = state * state + noise
    return "" if found - expected == 0 else f"the variance is {found} against {expected}"


def _euler_maruyama(top: Case) -> Iterator[Identity]:
    yield from _marginals()
    yield from _approached(top)
    claim = (
        "each step adds (delta (1 - varrho) + delta^2/4)/varrho^2 > 0 to the variance of known data, "
        "delta = g^2 (s_0 - s_1)/s_0^2, varrho = s_1/s_0"
    )
    yield decide(claim, lambda: _excess(top))


def _preserving(top: Case) -> Iterator[Identity]:  # noqa: ARG001
    d = sympy.Symbol("d", positive=True)

    def difference() -> str:
        ratio, at_data = stationary_variance()
        alpha, sigma, c = sympy.symbols("alpha sigma c", positive=True)
        expected = (1 + d) * (alpha**2 * c + sigma**2) / (2 * alpha**2 * c + (1 + d) * sigma**2)
        same = is_zero(ratio - expected) and is_zero(at_data - (1 + d) / 2)
        return "" if same else f"the ratio is {ratio}, at the data {at_data}"

    yield decide("order 0 in law: on Gaussian data the variance tends to (1 + d)/2 of that of the data", difference)


THEOREMS: Final[Mapping[str, Callable[[Case], Iterator[Identity]]]] = MappingProxyType(
    {
        "flow_sde": _euler_maruyama,
        "dance_sde": _euler_maruyama,
        "cps": _preserving,
        "euler_ancestral_rf": _approached,
    }
)
"""Family -> theorems on a method of it, from its step at full order."""
