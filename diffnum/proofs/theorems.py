"""Theorems of families: what a method is equal to, and for which of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

import sympy

from diffnum.coefficients.adams import ddim
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Rule
from diffnum.derivation import DERIVATIONS, Identity
from diffnum.derivation.adams import moment_weights
from diffnum.derivation.algebra.bseries import Expansion, expand
from diffnum.derivation.algebra.symbols import Symbols, is_zero
from diffnum.derivation.published import PUBLISHED
from diffnum.forms import ExponentialKernel
from diffnum.proofs.claims import decide
from diffnum.proofs.flow_noise import FLOW_THEOREMS
from diffnum.proofs.orders import as_expression, furnished
from diffnum.proofs.steps import (
    Case,
    published_difference,
    row_difference,
    step_difference,
    top_case,
    top_placement,
)
from diffnum.tableau import Window

__all__ = ["THEOREMS", "theorems_of"]


def theorems_of(top: Case) -> Iterator[Identity]:
    """What is known of a method beyond its weights and its order, from its step at full order."""
    if top.record.family in THEOREMS:
        yield from THEOREMS[top.record.family](top)


def _adams(top: Case) -> Iterator[Identity]:
    if top.placement.order == 1 and top.rate:
        yield decide("DDIM makes the same state of data, noise and rho", _ddim_everywhere)


def _dpmpp_3m_corrected(top: Case) -> Iterator[Identity]:
    yield decide("the weights are those of eab_3", lambda: _same_as(top, "eab_3"))


def _dpm_solver(top: Case) -> Iterator[Identity]:
    record = top.record
    if record.singlestep:
        return
    yield decide("for all inner nodes derived == shipped == published", lambda: _free_nodes(record))
    claim = "for all inner nodes the order is 2" + (", and 3 if and only if r_2 = 2/3" if record.top == 3 else "")
    yield decide(claim, lambda: _order_of_free_nodes(record))


def _dc_solver(top: Case) -> Iterator[Identity]:
    yield decide("with ratios 1 the weights are those of UniPC", lambda: _is_unipc(top))
    yield decide("a ratio other than 1 leaves order 1", lambda: _compensated_order(top.record))


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


_INNER = ("r_1", "r_2")
"""Symbols of inner nodes."""


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
    {
        **FLOW_THEOREMS,
        "adams": _adams,
        "dc_solver": _dc_solver,
        "dpm_solver": _dpm_solver,
        "dpmpp_3m_corrected": _dpmpp_3m_corrected,
        "unip": _unip,
        "unipc": _unipc,
        "unipc_pece": _unipc,
        "unipc_vary": _unipc,
    }
)
"""Family -> theorems on a method of it, from its step at full order."""
