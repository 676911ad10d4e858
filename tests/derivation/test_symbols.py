"""Exact rational functions: arithmetic, moments by parts, decidable zero tests."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from diffnum.derivation.algebra.symbols import Exact, Symbols, as_fraction, is_zero, phi, solve

H = sympy.Symbol("h")
SMALL = st.fractions(min_value=-5, max_value=5, max_denominator=7)


def at(value: Exact, **numbers: float) -> float:
    return float(value.as_expr().subs({sympy.Symbol(k): v for k, v in numbers.items()}))


@pytest.mark.parametrize("rate", [-1, 0, 1])
@pytest.mark.parametrize("fraction", [Fraction(1), Fraction(1, 3), Fraction(2, 3)])
@pytest.mark.parametrize("k", range(5))
def test_moments_by_parts_are_the_integrals(rate: int, fraction: Fraction, k: int) -> None:
    symbols = Symbols.make(rate=rate, root=3)
    h, c = 0.7, float(fraction)
    integral, _ = quad(lambda s: h * math.exp(rate * h * (c - s)) * s**k, 0, c)
    assert at(symbols.derived_kernel().moment(k, fraction), h=h) == pytest.approx(integral, rel=1e-11)


@pytest.mark.parametrize("rate", [-1, 0, 1])
def test_moments_by_parts_are_those_of_the_shipped_kernel(rate: int) -> None:
    symbols = Symbols.make(rate=rate, root=6)
    derived, shipped = symbols.derived_kernel(), symbols.shipped_kernel()
    for fraction in (Fraction(1), Fraction(1, 2), Fraction(1, 3)):
        assert derived.discount(fraction) == shipped.discount(fraction)
        for k in range(5):
            assert derived.moment(k, fraction) == shipped.moment(k, fraction)
            assert derived.moment(k, fraction) != shipped.moment(k + 1, fraction)


@given(a=SMALL, b=SMALL, c=SMALL)
@settings(max_examples=30, deadline=None)
def test_the_field_axioms_hold(a: Fraction, b: Fraction, c: Fraction) -> None:
    symbols = Symbols.make(past=1)
    x, y, z = (symbols.h + a, symbols.past[0] * b + symbols.exp(1), symbols.constant(c) - symbols.h)
    assert x * (y + z) == x * y + x * z
    assert x - x == 0
    assert (x / y) * y == x
    assert 1 / (1 / y) == y
    assert (x + y) ** 2 == x**2 + 2 * x * y + y**2
    assert x**-1 * x == 1


def test_floats_enter_with_their_exact_binary_value() -> None:
    symbols = Symbols.make()
    assert (symbols.h * 0.1 / symbols.h).fraction() == Fraction(0.1) != Fraction(1, 10)


def test_numbers_come_back_as_fractions_and_functions_do_not() -> None:
    symbols = Symbols.make()
    assert as_fraction(symbols.constant(Fraction(2, 3))) == Fraction(2, 3)
    assert as_fraction(sympy.Rational(2, 3)) == Fraction(2, 3)
    with pytest.raises(TypeError, match="depends on symbols"):
        as_fraction(symbols.h)
    with pytest.raises(TypeError, match="not a rational number"):
        as_fraction("2/3")


def test_exponentials_outside_the_field_are_refused() -> None:
    with pytest.raises(ValueError, match="root=3"):
        Symbols.make(rate=1, root=2).exp(Fraction(1, 3))
    with pytest.raises(ValueError, match="no exponential"):
        Symbols.make(rate=0).exp(1)


@pytest.mark.parametrize(
    "expression",
    [
        (1 - sympy.exp(-H)) ** 2 - 1 + 2 * sympy.exp(-H) - sympy.exp(-2 * H),
        sympy.exp(H / 3) * sympy.exp(2 * H / 3) - sympy.exp(H),
        phi(2, -H) * H**2 - (sympy.exp(-H) - 1 + H),
        sympy.Float(0.5) * H - H / 2,
        Symbols.make().h * 0,
        0,
    ],
)
def test_zero_is_recognised(expression: Any) -> None:
    assert is_zero(expression)


@pytest.mark.parametrize(
    "expression",
    [
        sympy.exp(-H) - 1 + H - H**2 / 2,  # zero to third order only
        sympy.exp(H / 3) - sympy.exp(H / 2),
        sympy.Add(sympy.Float(0.1) * H, -H / 10, evaluate=False),
        Symbols.make().h,
        1,
    ],
)
def test_what_is_not_zero_is_not_taken_for_it(expression: Any) -> None:
    assert not is_zero(expression)


@pytest.mark.parametrize("expression", [sympy.sin(H) ** 2 + sympy.cos(H) ** 2 - 1, sympy.exp(H**2)])
def test_undecidable_expressions_are_refused(expression: sympy.Expr) -> None:
    with pytest.raises(ValueError, match="decid"):
        is_zero(expression)


def test_linear_systems_are_solved_exactly_and_singular_ones_refused() -> None:
    matrix = [[Fraction(0), Fraction(2)], [Fraction(3), Fraction(1)]]
    assert solve(matrix, [Fraction(4), Fraction(5)]) == (1, 2)
    with pytest.raises(ValueError, match="singular"):
        solve([[Fraction(1), Fraction(2)], [Fraction(2), Fraction(4)]], [Fraction(1), Fraction(1)])


def test_phi_prints_as_phi_and_has_its_closed_form() -> None:
    assert sympy.latex(phi(2, -H)) == r"\varphi_{2}\!\left(- h\right)"
    assert float(phi(1, sympy.Integer(1)).evalf()) == pytest.approx(math.e - 1)
