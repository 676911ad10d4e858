"""Truncated power series: ring laws, division with shifts, precision that is never overstated."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum.derivation.algebra.series import PowerSeries, SeriesKernel, SeriesRing, TimeSeriesKernel
from diffnum.phi import phi

RING = SeriesRing(6)
COEFFICIENTS = st.lists(st.fractions(-3, 3, max_denominator=5), min_size=6, max_size=6)


@st.composite
def series(draw: st.DrawFn) -> PowerSeries:
    coefficients = [RING.coefficient(c) for c in draw(COEFFICIENTS)]
    return PowerSeries(RING, draw(st.integers(-2, 2)), coefficients)


@given(series(), series(), series())
@settings(max_examples=60, deadline=None)
def test_addition_and_multiplication_obey_the_ring_laws(a: PowerSeries, b: PowerSeries, c: PowerSeries) -> None:
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert not (a - a)


@given(series())
@settings(max_examples=60, deadline=None)
def test_division_undoes_multiplication(a: PowerSeries) -> None:
    if not a:
        with pytest.raises(ZeroDivisionError, match="zero up to"):
            a.inverse()
    else:
        assert a * a.inverse() == 1
        assert (a * a) / a == a
        assert 2 / a * a == 2
        assert not a * a or a**-2 * a**2 == 1  # the leading term of the square may lie beyond the precision


def test_leading_zeros_shift_the_exponents_of_a_quotient() -> None:
    h = RING.h
    quotient = (h**3 + h**4) / (h**2 - h**3)
    assert quotient.valuation == 1
    assert [quotient[i] for i in range(1, 4)] == [1, 2, 2]


def test_precision_is_reported_and_never_exceeded() -> None:
    h = RING.h
    one = RING.constant(1)
    assert (one / (one - h))[5] == 1
    with pytest.raises(ValueError, match="beyond the precision"):
        (one / (one - h))[6]
    difference = (1 + h) - (1 + h)
    assert difference.valuation == difference.precision == h.precision


def test_numbers_are_exact_and_cost_no_precision() -> None:
    assert RING.constant(0.1)[0] == RING.coefficient(Fraction(0.1)) != RING.coefficient(Fraction(1, 10))
    assert (RING.h + 1).precision == RING.h.precision


@pytest.mark.parametrize("k", range(6))
def test_phi_of_a_series_is_the_series_of_phi(k: int) -> None:
    value = phi(k, 2 * RING.h)
    assert [value[j] for j in range(6)] == [RING.coefficient(Fraction(2**j, math.factorial(j + k))) for j in range(6)]


def test_phi_of_a_series_with_a_constant_term_is_refused() -> None:
    with pytest.raises(ValueError, match="does not vanish"):
        phi(1, 1 + RING.h)


@pytest.mark.parametrize("rate", [-1, 1])
def test_kernel_moments_as_series_match_their_floats(rate: int) -> None:
    ring, h = SeriesRing(14), 0.1
    kernel = SeriesKernel(ring.h, rate)
    for k in range(3):
        moment = kernel.moment(k, Fraction(1, 2))
        value = sum(float(Fraction(int(moment[i].numerator), int(moment[i].denominator))) * h**i for i in range(14))
        assert value == pytest.approx(SeriesKernel(h, rate).moment(k, 0.5), rel=1e-13)


def test_time_kernel_moments_integrate_the_rate_of_the_clock() -> None:
    ring = SeriesRing(3, ("a_2", "a_3"))
    kernel = TimeSeriesKernel(ring)
    h, a2, a3 = ring.h, ring.symbol("a_2"), ring.symbol("a_3")
    assert kernel.moment(0) == h + a2 * h**2 + a3 * h**3
    assert kernel.moment(1) == h / 2 + a2 * h**2 * Fraction(2, 3) + a3 * h**3 * Fraction(3, 4)
    assert kernel.discount() == 1


def test_a_ring_without_terms_is_refused() -> None:
    with pytest.raises(ValueError, match="terms=0"):
        SeriesRing(0)
