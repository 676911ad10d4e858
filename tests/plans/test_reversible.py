"""Reversible schemes: their order, the root that their second vector brings, and that they can be undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.grids import Grid
from diffnum.plans.reversible import SCHEMES, parasitic_roots, reversible_plan
from diffnum.solver import State, iterate
from diffnum.solver.reversal import reversed_plan, reversed_step
from diffnum.types import Array, FloatArray

SCHEDULE = dn.schedules.VPLinear()
PROBLEM = dn.problems.three_peaks()
X = np.random.default_rng(2).normal(size=(5, 1))
T_START, T_END = 0.8, 0.05


def smooth(steps: int) -> Grid:
    return dn.grids.uniform_half_log_snr(SCHEDULE, n=steps, t_start=T_START, t_end=T_END)


def jumping(steps: int) -> Grid:
    """Steps of rho that are one and two long by turns."""
    length = np.tile([1.0, 2.0], steps)[:steps]
    edges = np.concatenate([[0.0], np.cumsum(length) / length.sum()])
    ends = np.exp(-SCHEDULE.half_log_snr(np.array([T_START, T_END])))
    lam = -np.log(ends[0] + edges * (ends[1] - ends[0]))
    return Grid(np.asarray(SCHEDULE.time(lam)), lam)


def last(plan: dn.Plan, model: Any, x: Any) -> State:
    *_, state = iterate(plan, model, x)
    return state


def error(plan: dn.Plan) -> float:
    exact = PROBLEM.flow(X, SCHEDULE, *plan.times[[0, -1]])
    return float(np.abs(dn.solve(plan, PROBLEM.denoiser(SCHEDULE), X) - exact).max())


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("from_data", [False, True])
def test_the_order_on_smooth_grids_is_that_of_the_record(name: str, from_data: bool) -> None:
    option = {"bdia": 0.5}.get(name)
    errors = []
    for steps in (160, 320):
        errors.append(error(reversible_plan(name, SCHEDULE, smooth(steps), option=option, from_data=from_data)))
    assert abs(np.log2(errors[0] / errors[1]) - SCHEMES[name].order) < 0.3


@pytest.mark.parametrize("name", ["leapfrog", "belm", "reversible_heun", "edict"])
def test_the_order_where_steps_jump_is_that_of_the_record(name: str) -> None:
    """In the worse direction: from the data the start of O-BELM is rough, from the noise its local errors are small."""
    orders = []
    for from_data in (False, True):
        errors = [error(reversible_plan(name, SCHEDULE, jumping(n), from_data=from_data)) for n in (300, 600)]
        orders.append(np.log2(errors[0] / errors[1]))
    assert abs(min(orders) - SCHEMES[name].irregular_order) < 0.15


def ratios(grid: Grid) -> FloatArray:
    """Step over step before, in rho."""
    h = np.diff(np.exp(-grid.lam))
    return h[1:] / h[:-1]


@pytest.mark.parametrize("grid", [smooth(12), jumping(12)])
def test_the_other_root_is_what_theory_says(grid: Grid) -> None:
    r = ratios(grid)
    alpha = SCHEDULE.alpha(grid.t)
    expected = {
        "leapfrog": -np.ones_like(r),
        "leapfrog_data": -np.ones_like(r),
        "belm": -(r**2),
        "bdia": -alpha[:-2] / alpha[2:],
        "edict": 0.93**2 * np.ones_like(r),
        "reversible_heun": -np.ones_like(r),
    }
    for name in SCHEMES:
        found = parasitic_roots(reversible_plan(name, SCHEDULE, grid))
        np.testing.assert_allclose(found, expected[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("prediction", ["data", "noise", "v"])
def test_what_was_encoded_is_decoded_to_rounding(name: str, prediction: Any) -> None:
    model = PROBLEM.denoiser(SCHEDULE, prediction)
    encode = reversible_plan(name, SCHEDULE, smooth(20), from_data=True).for_prediction(prediction)
    decode, _ = reversed_plan(encode)
    data = PROBLEM.flow(X, SCHEDULE, T_START, T_END)
    encoded = last(encode, model, data)
    back = last(decode, model, encoded._replace(step=0))
    np.testing.assert_allclose(back.x, data, atol=1e-7)
    assert decode.nfe == encode.nfe


@pytest.mark.parametrize("name", SCHEMES)
def test_turning_a_step_twice_gives_the_step(name: str) -> None:
    step = reversible_plan(name, SCHEDULE, smooth(6)).steps[3]
    once = reversed_step(step)
    assert once is not None
    twice = reversed_step(once.tableau)
    assert twice is not None
    order = [once.order[i] for i in twice.order]
    for field in ("V", "U"):
        expected = getattr(step, field)
        found = getattr(twice.tableau, field)
        if field == "V":
            np.testing.assert_allclose(found, expected, atol=1e-12)
    assert sorted(order) == list(range(step.nfe))


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "edm_heun", "unipc_3_bh2", "ghvb_1.8"])
def test_usual_methods_cannot_be_undone(name: str) -> None:
    """The negative control: a state that is asked at before it is known."""
    plan = dn.plan(name, SCHEDULE, smooth(6))
    assert any(reversed_step(step) is None for step in plan.steps)


def test_a_weight_off_by_a_thousandth_does_not_come_back() -> None:
    """Another negative control, of the round trip itself."""
    model = PROBLEM.denoiser(SCHEDULE)
    encode = reversible_plan("bdia", SCHEDULE, smooth(20), option=1.0, from_data=True)
    other = reversible_plan("bdia", SCHEDULE, smooth(20), option=0.999, from_data=True)
    decode, _ = reversed_plan(other)
    data = PROBLEM.flow(X, SCHEDULE, T_START, T_END)
    back = last(decode, model, last(encode, model, data)._replace(step=0))
    assert np.abs(back.x - data).max() > 1e-5


def test_gradients_keep_nothing() -> None:
    def squares(end: Array) -> tuple[Any, Array]:
        return np.sum(end**2), 2 * end

    model = PROBLEM.denoiser(SCHEDULE)
    for name in SCHEMES:
        plan = reversible_plan(name, SCHEDULE, smooth(20))
        found = dn.gradient(plan, model, X, squares, memory="reversible")
        np.testing.assert_allclose(found.x, dn.gradient(plan, model, X, squares, memory="full").x, rtol=1e-6)
        assert found.kept[0] == 1
        assert found.evaluations == 2 * plan.nfe


def test_bad_input_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="use one of leapfrog"):
        reversible_plan("verlet", SCHEDULE, smooth(4))
    with pytest.raises(ValueError, match=r"outside \(0.5, 1\]"):
        reversible_plan("edict", SCHEDULE, smooth(4), option=0.4)
    with pytest.raises(ValueError, match="has no parameter"):
        reversible_plan("belm", SCHEDULE, smooth(4), option=0.4)
    with pytest.raises(ValueError, match="sigma = 0"):
        reversible_plan("belm", SCHEDULE, dn.grids.to_zero(smooth(4), SCHEDULE))
