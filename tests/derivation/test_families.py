"""Derived weights against the numbers in the books, family by family."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import pytest
import sympy

import diffnum as dn
from diffnum.derivation import DERIVATIONS
from diffnum.derivation.adams import moment_weights
from diffnum.derivation.algebra.symbols import Symbols
from diffnum.derivation.momentum import adams_differences, ghvb_weights
from diffnum.derivation.predictor_corrector import unipc
from diffnum.tableau import Window

F = Fraction
BASHFORTH = {
    1: (F(1),),
    2: (F(3, 2), F(-1, 2)),
    3: (F(23, 12), F(-16, 12), F(5, 12)),
    4: (F(55, 24), F(-59, 24), F(37, 24), F(-9, 24)),
}
MOULTON = {1: (F(5, 12), F(8, 12), F(-1, 12)), 2: (F(9, 24), F(19, 24), F(-5, 24), F(1, 24))}  # newest first


def limit(weight: Any, past: int) -> sympy.Expr:
    """Weight over h as h -> 0 on constant steps."""
    expression = weight.as_expr().subs({sympy.Symbol(f"u_{j}"): -j for j in range(1, past + 1)})
    h = sympy.Symbol("h")
    return sympy.limit(sympy.cancel(expression / h), h, 0)


@pytest.mark.parametrize("rate", [-1, 0, 1])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_adams_weights_tend_to_adams_bashforth(rate: int, order: int) -> None:
    symbols = Symbols.make(past=order - 1, rate=rate)
    window = Window(symbols.h, symbols.past, symbols.derived_kernel(), depth=order - 1)
    step = DERIVATIONS["adams"](window, order, rate).step
    weights = [limit(step.x[name], order - 1) for name in ("k1", "m1", "m2")[:order]]
    assert weights == [sympy.Rational(w.numerator, w.denominator) for w in BASHFORTH[order]]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_moment_weights_on_numbers_are_adams_bashforth(order: int) -> None:
    nodes = [F(-j) for j in range(order)]
    assert moment_weights(nodes, [F(1, k + 1) for k in range(order)]) == BASHFORTH[order]


def test_repeated_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="singular"):
        moment_weights([F(0), F(0)], [F(1), F(1, 2)])


@pytest.mark.parametrize("order", [1, 2])
def test_the_corrector_tends_to_adams_moulton(order: int) -> None:
    symbols = Symbols.make(past=order, rate=-1)
    known = frozenset({"x", "m0", "m1", "m2"})
    window = Window(symbols.h, symbols.past, symbols.derived_kernel(), known, order)
    step = unipc(window, order + 1).step
    names = ("k1", "m0", "m1", "m2")[: order + 2]
    expected = {1: MOULTON[1], 2: MOULTON[2]}[order]
    assert [limit(step.x[n], order) for n in names] == [sympy.Rational(w.numerator, w.denominator) for w in expected]


def test_difference_coefficients_are_those_of_adams() -> None:
    assert adams_differences(6) == (1, F(1, 2), F(5, 12), F(3, 8), F(251, 720), F(95, 288))


@pytest.mark.parametrize("order", range(1, 8))
def test_momentum_weights_sum_to_beta_and_are_bashforth_without_momentum(order: int) -> None:
    beta = F(3, 10)
    assert sum(ghvb_weights(order, beta)) == beta
    if order in BASHFORTH:
        assert ghvb_weights(order, F(1)) == BASHFORTH[order]


@pytest.mark.parametrize("name", ["eab_2", "eab_3", "eab_noise_3", "lms_4", "ab_velocity_3"])
def test_the_error_constant_is_that_of_the_quadrature_error(name: str) -> None:
    record, constant = dn.method(name), dn.derive(name).error_constant
    nodes = [F(0), F(-5, 4), F(-2), F(-7, 2)][: record.order]
    symbols = {sympy.Symbol(f"u_{j}"): sympy.Rational(u.numerator, u.denominator) for j, u in enumerate(nodes)}
    with mpmath.workdps(50):
        h, rate = mpmath.mpf("1e-6"), record.form.rate
        exact = h * mpmath.quad(lambda s: mpmath.exp(rate * h * (1 - s)) * mpmath.exp(s * h), [0, 1])
        past = tuple(mpmath.mpf(u.numerator) / u.denominator for u in nodes[1:])
        from diffnum.coefficients import exponential_adams
        from diffnum.forms import ExponentialKernel

        weights = exponential_adams(ExponentialKernel(h, rate), (0, *past))
        step = sum(w * mpmath.exp(h * u) for w, u in zip(weights, (0, *past), strict=True))
        measured = (exact - step) / h ** (record.order + 1)
    assert float(measured) == pytest.approx(float(constant.subs(symbols)), rel=1e-4)


UNLISTED = {
    "dc_solver": lambda: dn.method("dc_solver_2_bh2"),
    "dpm_solver_v3": lambda: dn.dpm_solver_v3(dn.ModelStatistics.constant(), 2),
}
"""Members of the families whose plans must be given numbers, and which therefore stand in no table."""


@pytest.mark.parametrize("family", DERIVATIONS)
def test_every_derivation_tells_how_it_goes(family: str) -> None:
    # some are the part without noise of stochastic methods only
    known = [*dn.methods().values(), *dn.methods("stochastic").values()]
    listed = (m for m in known if family == (m.noise.base if m.noise else m.family))
    record = UNLISTED[family]() if family in UNLISTED else next(listed)
    derivation = dn.derive(record)
    assert len(derivation.argument) >= 3
    assert all(line.text for line in derivation.argument)


def test_shortcuts_of_the_authors_are_named() -> None:
    assert "I_2/2" in dn.derive("dpmpp_3m").asymptotic[0]
    assert dn.derive("dpmpp_2m").asymptotic
    assert not dn.derive("eab_3").asymptotic
    assert not dn.derive("dpmpp_3m_corrected").asymptotic


def test_unknown_variants_are_refused() -> None:
    symbols = Symbols.make(past=1)
    with pytest.raises(ValueError, match="variant='bh3'"):
        unipc(Window(symbols.h, symbols.past, symbols.derived_kernel()), 2, -1, variant="bh3")
