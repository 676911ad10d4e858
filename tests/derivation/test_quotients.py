"""Quotients of polynomials with factored denominators, against sympy's own field."""

from __future__ import annotations

import pickle
from fractions import Fraction
from functools import reduce
from operator import add, mul, sub, truediv

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.polys.fields import FracField

from diffnum.derivation.algebra.quotients import Quotients

NAMES = sympy.symbols("h E u_1 u_2")
OURS, THEIRS = Quotients(NAMES), FracField(NAMES, sympy.QQ)

FEW = settings(max_examples=30, deadline=None)

LOCALS = {str(name): name for name in NAMES}

# what denominators are made of in this package, and what has no monic variable
FACTORS = ("h", "E", "u_1", "u_2", "u_1 - u_2", "1 - E", "u_2 - 1", "2*u_1 + 3*u_2", "u_1**2 + u_2 + 1", "2*E**2 - 3*h")


def both(numerator, powers):
    """The same rational function in the two fields."""
    ours, theirs = OURS.one, THEIRS.one
    for text, power in ((numerator, 1), *powers.items()):
        # polynomials of the two rings are made of the same expression
        a = OURS(OURS.ring.from_expr(sympy.sympify(text, locals=LOCALS)))
        b = THEIRS.from_expr(sympy.sympify(text, locals=LOCALS))
        ours, theirs = ours * a**power, theirs * b**power
    return ours, theirs


@st.composite
def functions(draw):
    numerator = draw(
        st.sampled_from(("1", "u_1 + u_2*h", "3*E - 6*u_1*h**2", "u_1**2 - u_2**2", "7", "-2*h + 4*E*u_1"))
    )
    return both(numerator, draw(st.dictionaries(st.sampled_from(FACTORS), st.sampled_from((-2, -1, 1)), max_size=3)))


def same(ours, theirs):
    """Whether numerators and denominators are the same polynomials, after cancellation."""
    return [dict(ours.numer), dict(ours.denom)] == [dict(theirs.numer), dict(theirs.denom)]


@pytest.mark.parametrize("operation", [add, sub, mul, truediv])
@FEW
@given(functions(), functions())
def test_arithmetic_is_that_of_the_field_of_rational_functions_in_lowest_terms(operation, a, b):
    assert same(operation(a[0], b[0]), operation(a[1], b[1]))


@FEW
@given(functions(), functions(), functions())
def test_sums_do_not_depend_on_their_order(a, b, c):
    left, right = (a[0] + b[0]) + c[0], a[0] + (b[0] + c[0])
    assert left == right
    assert same(left, (a[1] + b[1]) + c[1])


@FEW
@given(functions())
def test_what_is_taken_away_from_itself_is_zero_and_zero_has_no_inverse(a):
    zero = a[0] - a[0]
    assert not zero
    assert zero == 0
    with pytest.raises(ZeroDivisionError, match="zero function"):
        a[0] / zero


@FEW
@given(functions(), st.integers(-2, 2))
def test_powers_are_repeated_products(a, power):
    repeated = (a[1] if power > 0 else 1 / a[1] for _ in range(abs(power)))
    assert same(a[0] ** power, reduce(mul, repeated, THEIRS.one))


@FEW
@given(functions())
def test_what_is_printed_means_the_function(a):
    ours, theirs = a
    for printed in (ours.factored(), ours.as_expr(), sympy.sympify(repr(ours), locals=LOCALS)):
        assert sympy.cancel(printed - theirs.as_expr()) == 0


def test_near_quotients_are_told_apart():
    u, v = OURS.gens[2:]
    almost = (u * u - v * v + OURS(Fraction(1, 10**9))) / (u - v)
    assert almost != u + v
    assert (u * u - v * v) / (u - v) == u + v


def test_a_quotient_vanishes_at_parameters_where_its_numerator_does():
    h, _, u, v = OURS.gens
    value = (u * h - OURS(Fraction(1, 2)) * h) / v
    assert value.vanishes_at({"u_1": Fraction(1, 2)})
    assert not value.vanishes_at({"u_1": Fraction(1, 3)})
    assert not value.vanishes_at({})


@FEW
@given(functions())
def test_quotients_pickle(a):
    assert pickle.loads(pickle.dumps(a[0])) == a[0]
