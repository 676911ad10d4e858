"""Laws of the weights of GHVB."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from diffnum.coefficients import adams_bashforth, ghvb

orders = st.integers(1, 8)
betas = st.floats(0.05, 1.0)


@pytest.mark.parametrize("order", range(1, 9))
def test_without_momentum_it_is_adams_bashforth_on_constant_steps(order):
    constants = adams_bashforth(Fraction(1), tuple(-Fraction(j) for j in range(order)))
    assert ghvb(order, Fraction(1)) == constants


@given(order=orders, beta=betas)
def test_the_weights_sum_to_beta(order, beta):
    assert sum(ghvb(order, beta)) == pytest.approx(beta, abs=1e-14 * 20)


@pytest.mark.parametrize("order", range(1, 6))
def test_they_undo_the_delay_of_the_average_up_to_their_order(order):
    beta, s = sympy.symbols("beta s")
    shift = sympy.exp(-s)  # one step back, on exp(s n)
    average = beta / (1 - (1 - beta) * shift)
    applied = sum(c * shift**j for j, c in enumerate(ghvb(order, beta))) * average / beta
    exact = (sympy.exp(s) - 1) / s  # mean of exp over the step
    series = sympy.series(sympy.simplify(applied - exact), s, 0, order + 1).removeO()
    terms = [sympy.simplify(series.coeff(s, k)) for k in range(order + 1)]
    assert terms[:order] == [0] * order
    assert terms[order] != 0


@given(order=orders, beta=betas)
def test_symbols_and_floats_agree(order, beta):
    b = sympy.Symbol("b")
    expected = [float(sympy.sympify(c).subs(b, beta)) for c in ghvb(order, b)]
    assert list(ghvb(order, beta)) == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("beta", [0, 0.0, -0.5, 1.0001, 2])
def test_beta_outside_its_range_is_refused(beta):
    with pytest.raises(ValueError, match="outside"):
        ghvb(2, beta)


@pytest.mark.parametrize("order", [0, -1, 2.0])
def test_an_order_that_is_no_number_of_averages_is_refused(order):
    with pytest.raises(ValueError, match=f"order={order} is not a positive whole number"):
        ghvb(order, 0.5)
