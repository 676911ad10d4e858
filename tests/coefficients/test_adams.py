"""Laws of the Adams weights."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients import (
    adams_bashforth,
    ddim,
    dpmpp_2m,
    dpmpp_3m,
    dpmpp_3m_corrected,
    exponential_adams,
)
from diffnum.coefficients.adams import closing_moments
from diffnum.forms import ExponentialKernel
from diffnum.schedules import EDM, VPFitted, VPLinear
from tests.coefficients.strategies import past, predictions, steps

RATE = {"data": -1, "noise": 1}


def close(found, expected, rel=1e-12):
    """Equal to rounding of the largest weight."""
    scale = max(abs(float(w)) for w in expected)
    assert [float(w) for w in found] == pytest.approx([float(w) for w in expected], rel=0, abs=rel * scale)


@given(h=steps, u=past(st.integers(0, 5)), prediction=predictions, implicit=st.booleans())
def test_weights_integrate_polynomials_exactly_up_to_their_number(h, u, prediction, implicit):
    nodes = (0, *u, *([1] if implicit else []))
    weights = exponential_adams(h, nodes, prediction)
    kernel = ExponentialKernel(h, RATE[prediction])
    for k in range(len(nodes)):
        terms = [w * node**k for w, node in zip(weights, nodes, strict=True)]
        size = max(map(abs, terms))
        assert math.fsum(terms) == pytest.approx(kernel.moment(k), rel=0, abs=1e-13 * max(size, kernel.moment(k)))


def test_the_next_moment_is_not_integrated():
    u = (-1.0, -2.0)
    weights = exponential_adams(0.7, (0, *u))
    missed = sum(w * node**3 for w, node in zip(weights, (0, *u), strict=True))
    assert abs(missed - ExponentialKernel(0.7, -1).moment(3)) > 0.1


@given(h=steps, u=past(2), prediction=predictions)
def test_the_sum_of_the_weights_is_that_of_ddim(h, u, prediction):
    (total,) = ddim(h, prediction)
    for weights in (
        dpmpp_2m(h, u[0], prediction),
        dpmpp_3m(h, *u, prediction),
        dpmpp_3m_corrected(h, *u, prediction),
        exponential_adams(h, (0, *u), prediction),
    ):
        assert math.fsum(weights) == pytest.approx(total, abs=1e-14 * max(map(abs, weights)) + 1e-15 * total)


@given(h=steps)
def test_ddim_has_the_closed_forms_of_its_paper(h):
    assert ddim(h)[0] == pytest.approx(-math.expm1(-h), rel=1e-14)
    assert ddim(h, "noise")[0] == pytest.approx(math.expm1(h), rel=1e-14)
    assert ddim(-h, "rho") == (-h,)


@given(
    x=st.floats(-3, 3),
    data=st.floats(-3, 3),
    levels=st.tuples(*4 * [st.floats(0.05, 2.0)]),
)
def test_ddim_reaches_one_state_in_data_noise_and_rho_form(x, data, levels):
    alpha, sigma, alpha_next, sigma_next = levels
    noise = (x - alpha * data) / sigma
    h = math.log(alpha_next / sigma_next) - math.log(alpha / sigma)
    assume(h >= 0)
    rho_step = sigma_next / alpha_next - sigma / alpha
    by_data = sigma_next / sigma * x + alpha_next * ddim(h)[0] * data
    by_noise = alpha_next / alpha * x - sigma_next * ddim(h, "noise")[0] * noise
    by_rho = alpha_next / alpha * x + alpha_next * ddim(rho_step, "rho")[0] * noise
    expected = alpha_next * data + sigma_next * noise
    size = 1e-12 * (1 + abs(x) * (sigma_next / sigma + alpha_next / alpha) + (abs(noise) + abs(data)) * 100)
    assert [by_data, by_noise, by_rho] == pytest.approx(3 * [expected], rel=0, abs=size)


@given(h=steps, u=past(2), prediction=predictions)
def test_corrected_3m_is_the_exponential_adams_method_and_the_shipped_one_is_not(h, u, prediction):
    exact = exponential_adams(h, (0, *u), prediction)
    close(dpmpp_3m_corrected(h, *u, prediction), exact, rel=1e-11)
    shipped = dpmpp_3m(h, *u, prediction)
    # the missing half of the second difference, in the oldest weight
    missing = ExponentialKernel(h, RATE[prediction]).moment(2) / 2 / (u[1] * (u[0] - u[1]))
    assert exact[2] - shipped[2] == pytest.approx(-missing, rel=1e-6, abs=1e-12 * max(map(abs, exact)))


@given(h=steps, r=past(1), prediction=predictions)
def test_2m_takes_half_of_the_zeroth_moment_for_the_first(h, r, prediction):
    total, (_, w1) = ddim(h, prediction)[0], dpmpp_2m(h, r[0], prediction)
    assert w1 * r[0] == pytest.approx(total / 2, rel=1e-14)


CLASSICAL = {
    2: (Fraction(3, 2), Fraction(-1, 2)),
    3: (Fraction(23, 12), Fraction(-16, 12), Fraction(5, 12)),
    4: (Fraction(55, 24), Fraction(-59, 24), Fraction(37, 24), Fraction(-9, 24)),
    5: tuple(Fraction(n, 720) for n in (1901, -2774, 2616, -1274, 251)),
}


@pytest.mark.parametrize("order", CLASSICAL)
def test_constant_steps_give_the_classical_constants(order):
    nodes = tuple(-Fraction(j) for j in range(order))
    assert adams_bashforth(Fraction(1), nodes) == CLASSICAL[order]
    for prediction in ("data", "noise"):
        h = 1e-7
        weights = exponential_adams(h, [float(u) for u in nodes], prediction)
        assert [w / h for w in weights] == pytest.approx([float(c) for c in CLASSICAL[order]], rel=1e-5)


def test_the_implicit_constants_are_those_of_adams_and_moulton():
    nodes = (Fraction(0), Fraction(-1), 1)
    assert exponential_adams(Fraction(1), nodes, "rho") == (Fraction(8, 12), Fraction(-1, 12), Fraction(5, 12))


FUNCTIONS = {
    "ddim": lambda h, _, p: ddim(h, p),
    "dpmpp_2m": lambda h, u, p: dpmpp_2m(h, u[0], p),
    "dpmpp_3m": lambda h, u, p: dpmpp_3m(h, *u, p),
    "dpmpp_3m_corrected": lambda h, u, p: dpmpp_3m_corrected(h, *u, p),
    "exponential_adams": lambda h, u, p: exponential_adams(h, (0, *u), p),
    "implicit": lambda h, u, p: exponential_adams(h, (0, *u, 1), p),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(h=st.floats(1e-3, 6.0), u=past(2), prediction=predictions)
def test_floats_arrays_and_mpmath_agree(name, h, u, prediction):
    function = FUNCTIONS[name]
    expected = function(h, u, prediction)
    close(
        [w[1] for w in function(np.array([0.5, h]), [np.array([-1.5 - j, v]) for j, v in enumerate(u)], prediction)],
        expected,
    )
    with mpmath.workdps(50):
        close(function(mpmath.mpf(h), [mpmath.mpf(v) for v in u], prediction), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_symbols_go_through_and_agree(name, prediction):
    h, r1, r2 = sympy.symbols("h r1 r2")
    values = {h: sympy.Rational(3, 4), r1: sympy.Rational(-5, 4), r2: sympy.Rational(-7, 2)}
    symbolic = FUNCTIONS[name](h, (r1, r2), prediction)
    close([w.subs(values).evalf(40) for w in symbolic], FUNCTIONS[name](0.75, (-1.25, -3.5), prediction))


@given(h=st.floats(1e-8, 60.0), prediction=predictions)
def test_closing_moments_are_accurate_where_their_definition_cancels(h, prediction):
    found = closing_moments(ExponentialKernel(h, RATE[prediction]), 5)
    with mpmath.workdps(60):
        exact = closing_moments(ExponentialKernel(mpmath.mpf(h), RATE[prediction]), 5)
        assert max(abs(a / b - 1) for a, b in zip(found, exact, strict=True)) < 8 * 2.0**-52


def test_steps_beyond_the_series_are_still_right():
    found = closing_moments(ExponentialKernel(200.0, -1), 2)
    assert found[0] == pytest.approx(1 / 200, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exponential_adams(0.1, ()), "nodes=.. is empty"),
        (lambda: exponential_adams(0.1, (0, -1.0, -1.0)), "repeats a node"),
        (lambda: exponential_adams(0.1, (0, -1.0), "score"), "prediction='score' has no kernel"),
        (lambda: ddim(0.1, "eps"), "prediction='eps'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- weights of the official codes ---------------------------------------------------------------------


def weights(name, schedule, n=10, **options):
    """Weights of a step in the middle of a plan."""
    made = dn.plan(name, schedule, dn.grids.uniform_time(schedule, n, **options))
    return dict(made.steps[n // 2].rows())["x"]


@pytest.mark.parametrize("name", ["deis_tab0", "deis_tab2", "deis_tab3", "deis_rhoab1", "deis_rhoab3"])
def test_official_weights_of_deis_are_close_to_the_exact_ones_and_not_equal(name):
    exact, official = weights(name, VPLinear()), weights(f"{name}_official", VPLinear())
    size = max(abs(w) for w in exact.values())
    worst = max(abs(exact[key] - official[key]) for key in exact) / size
    assert 1e-7 < worst < 1e-3
    assert dn.method(f"{name}_official").order == 1
    assert dn.method(f"{name}_official").claimed_order == dn.method(name).order


def test_the_first_degree_in_rho_needs_no_quadrature():
    assert weights("deis_rhoab0_official", VPLinear()) == pytest.approx(weights("deis_rhoab0", VPLinear()), rel=1e-12)


def test_the_error_of_a_left_sum_grows_with_the_step_and_stays_below_one_cell():
    """Zeroth moment: (f(0) - f(1)) / (2 cells) for the density f, by Euler and Maclaurin."""
    schedule = VPLinear()
    grid = dn.grids.uniform_time(schedule, 5)
    start, end = (float(t) for t in grid.t[2:4])
    exact, official = (dict(dn.plan(n, schedule, grid).steps[2].rows())["x"]["k1"] for n in NAMES)
    density = [(end - start) * schedule.drift(t)[1] / schedule.alpha(t) for t in (start, end)]
    expected = schedule.alpha(end) * (density[0] - density[1]) / 20000
    assert official - exact == pytest.approx(expected, rel=1e-3)


NAMES = ("deis_tab0", "deis_tab0_official")


def test_the_time_of_a_vp_process_serves_other_processes_and_first_steps_are_exact():
    schedule = EDM()
    grid = dn.grids.karras(schedule, 8)
    exact, official = (dn.plan(name, schedule, grid) for name in ("deis_tab2_edm", "deis_tab2_edm_official"))
    rows = [[dict(step.rows())["x"] for step in made.steps] for made in (exact, official)]
    assert rows[1][0] == pytest.approx(rows[0][0], rel=1e-12)
    assert rows[1][4] == pytest.approx(rows[0][4], rel=1e-2)
    assert rows[1][4] != pytest.approx(rows[0][4], rel=1e-6)
    same = dn.plan("deis_tab2", VPFitted(), dn.grids.karras(VPFitted(), 8))  # on the clock's own process
    twin = dn.plan("deis_tab2_edm", VPFitted(), dn.grids.karras(VPFitted(), 8))
    for ours, theirs in zip(same.steps, twin.steps, strict=True):
        assert dict(ours.rows())["x"] == pytest.approx(dict(theirs.rows())["x"], rel=1e-9)


@pytest.mark.parametrize("name", ["deis_tab2_edm", "deis_tab2_official", "deis_rhoab2_official"])
def test_variants_of_deis_follow_the_exact_flow(name):
    problem, schedule = dn.problems.three_peaks(), VPLinear()
    grid = dn.grids.uniform_half_log_snr(schedule, 40, t_start=0.6, t_end=0.05)
    x = np.array([[-0.7], [0.4], [1.1]])
    exact = problem.flow(x, schedule, 0.6, 0.05)
    for start in (None, "high_order"):
        made = dn.plan(name, schedule, grid, start=start)
        assert np.max(np.abs(dn.solve(made, problem.denoiser(schedule, "noise"), x) - exact)) < 2e-2


@pytest.mark.parametrize("name", ["deis_tab12_official", "deis_tab12_edm", "deis_rhoab2_edm"])
def test_variants_of_deis_beyond_the_codes_are_unknown(name):
    with pytest.raises(ValueError, match="is unknown"):
        dn.method(name)


@pytest.mark.parametrize("name", ["deis_tab2_official", "deis_rhoab1_official", "deis_tab2_edm"])
def test_formulas_of_official_weights_are_proved_with_exact_moments(name):
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert proof.order == dn.method(name).claimed_order
    assert ("with exact moments" in str(proof)) == name.endswith("official")
