"""Laws of the exponential Runge-Kutta weights."""

from __future__ import annotations

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients import ddim, dpm_solver_2, dpm_solver_3, etd_rk4, heun
from diffnum.forms import ExponentialKernel, drift_form
from diffnum.schedules import EDM, Brownian, FlowMatching, VPCosine, VPLinear
from tests.coefficients.strategies import predictions, steps

RATE = {"data": -1, "noise": 1}
inner = st.floats(0.1, 1.0)


@given(h=steps, r=inner, prediction=predictions)
def test_rows_of_two_stages_keep_constants(h, r, prediction):
    a21, b = dpm_solver_2(h, r, prediction)
    kernel = ExponentialKernel(h, RATE[prediction])
    assert a21 == pytest.approx(kernel.moment(0, r), rel=1e-14)
    assert math.fsum(b) == pytest.approx(ddim(h, prediction)[0], rel=1e-12)
    assert b[1] * r == pytest.approx(ddim(h, prediction)[0] / 2, rel=1e-14)


@given(h=steps, r1=st.floats(0.1, 0.5), r2=st.floats(0.6, 1.0), prediction=predictions)
def test_rows_of_three_stages_keep_constants_and_lines(h, r1, r2, prediction):
    a21, a3, b = dpm_solver_3(h, r1, r2, prediction)
    kernel = ExponentialKernel(h, RATE[prediction])
    rows = {1.0: ((0.0, r1, r2), b), r2: ((0.0, r1), a3), r1: ((0.0,), (a21,))}
    for fraction, (nodes, row) in rows.items():
        assert math.fsum(row) == pytest.approx(kernel.moment(0, fraction), rel=1e-11)
        if len(row) > 1:  # the first moment too
            first = math.fsum(w * c for w, c in zip(row, nodes, strict=True))
            assert first == pytest.approx(kernel.moment(1, fraction), rel=1e-11)


def test_small_steps_give_the_classical_methods():
    h = 1e-9
    a21, b = heun(h)
    assert (a21 / h, b[0] / h, b[1] / h) == pytest.approx((1.0, 0.5, 0.5))
    a21, a3, b = dpm_solver_3(h)  # Heun's method of order 3
    assert [w / h for w in (a21, *a3, *b)] == pytest.approx([1 / 3, 0, 2 / 3, 1 / 4, 0, 3 / 4], abs=1e-8)
    a21, a32, a4, b = etd_rk4(h)
    assert [w / h for w in (a21, a32, *a4, *b)] == pytest.approx([0.5, 0.5, 0, 1, 1 / 6, 1 / 3, 1 / 3, 1 / 6], abs=1e-8)


@given(h=steps, prediction=predictions)
def test_four_stages_integrate_quadratics(h, prediction):
    *_, b = etd_rk4(h, prediction=prediction)
    kernel = ExponentialKernel(h, RATE[prediction])
    for k in range(3):
        integral = math.fsum(w * c**k for w, c in zip(b, (0.0, 0.5, 0.5, 1.0), strict=True))
        assert integral == pytest.approx(kernel.moment(k), rel=1e-11)


@given(h=st.floats(1e-3, 6.0), prediction=predictions)
def test_floats_and_mpmath_agree(h, prediction):
    third = mpmath.mpf(1) / 3
    with mpmath.workdps(40):
        a21, a3, b = dpm_solver_3(mpmath.mpf(h), third, 2 * third, prediction)
    found = dpm_solver_3(h, prediction=prediction)
    scale = max(abs(float(w)) for w in (a21, *a3, *b))
    pairs = zip((found[0], *found[1], *found[2]), (a21, *a3, *b), strict=True)
    assert all(abs(float(w) - float(v)) < 1e-14 * scale for w, v in pairs)


def test_symbols_go_through():
    h, r = sympy.symbols("h r")
    a21, (b1, b2) = dpm_solver_2(h, r)
    assert sympy.cancel((b1 + b2 - (sympy.exp(h) - 1)).rewrite(sympy.exp)) == 0
    assert sympy.cancel(a21 - (sympy.exp(r * h) - 1)) == 0


@pytest.mark.parametrize(("r1", "r2"), [(0.5, 0.5), (0.7, 0.3), (0.0, 0.5), (0.3, 1.2)])
def test_inner_nodes_out_of_order_are_refused(r1, r2):
    with pytest.raises(ValueError, match="out of order"):
        dpm_solver_3(0.1, r1, r2)


def test_an_unknown_prediction_is_named():
    with pytest.raises(ValueError, match="prediction='eps'"):
        heun(0.1, "eps")


# -- nothing removed: steps in time --------------------------------------------------------------------


def errors(record, schedule, numbers):
    """Errors at the end of runs on equal steps of time."""
    problem = dn.problems.three_peaks()
    start, end = (float(schedule.time(lam)) for lam in (-1.0, 1.5))
    x = np.array([[-0.7], [0.4], [1.1]]) * float(schedule.alpha(start) + schedule.sigma(start))
    exact = problem.flow(x, schedule, start, end)
    model = problem.denoiser(schedule, "data")
    grids = (dn.grids.uniform_time(schedule, n, t_start=start, t_end=end) for n in numbers)
    return [np.max(np.abs(dn.solve(dn.plan(record, schedule, grid), model, x) - exact)) for grid in grids]


@pytest.mark.parametrize("schedule", [VPLinear(), FlowMatching(), Brownian(), VPCosine()], ids=lambda s: s.name)
@pytest.mark.parametrize(
    ("name", "order"), [("time_rk_euler", 1), ("time_rk_2_2/3", 2), ("time_rk_kutta3", 3), ("time_rk_rk4", 4)]
)
def test_runge_kutta_methods_in_time_have_their_classical_order(name, order, schedule):
    coarse, fine = errors(dn.method(name), schedule, (160, 320))
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)
    assert dn.method(name).order == order


def test_a_step_of_euler_in_time_is_that_of_the_equation():
    schedule = VPLinear()
    plan = dn.plan("time_rk_euler", schedule, dn.grids.uniform_time(schedule, 4))
    for step in plan.steps:
        h = step.t_to - step.t_from
        damping, noising = schedule.drift(step.t_from)
        assert dict(step.rows())["x"] == pytest.approx({"x": 1 + h * damping, "k1": h * noising}, rel=1e-14)


def test_the_clock_may_be_the_time_of_another_schedule():
    """EDM's process in the time of Brownian motion is Brownian motion."""
    record = dn.method("time_rk_2_0.5")
    own, edm = Brownian(), EDM(0.02, 100.0)
    lam = np.linspace(-2.0, 2.0, 7)
    at_home = dn.plan(record, own, dn.grids.from_half_log_snr(own, lam))
    abroad = dn.plan(replace(record, form=drift_form(own)), edm, dn.grids.from_half_log_snr(edm, lam))
    for ours, theirs in zip(at_home.steps, abroad.steps, strict=True):
        assert all(
            dict(a) == pytest.approx(dict(b), rel=1e-12)
            for (_, a), (_, b) in zip(ours.rows(), theirs.rows(), strict=True)
        )


def test_the_linear_part_in_the_equation_costs_the_exactness_for_constant_noise():
    """Negative control: in sigma/alpha Euler's method is exact for a constant noise prediction, in time it is not."""
    schedule = VPLinear()
    grid = dn.grids.uniform_time(schedule, 5)
    exact = float(schedule.alpha(grid.t[-1]) / schedule.alpha(grid.t[0]))
    gains = [
        np.prod([dict(step.rows())["x"]["x"] for step in dn.plan(name, schedule, grid).steps])
        for name in ("rho_rk_euler", "time_rk_euler")
    ]
    assert gains[0] == pytest.approx(exact, rel=1e-12)
    assert abs(gains[1] / exact - 1) > 0.1
