"""Searching ratios, and predicting them for unseen settings."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import diffnum as dn
from diffnum.calibration.compensation import (
    CascadeRegression,
    exact_reference,
    minimise_polynomial_loss,
    search_ratios,
)

SCHEDULE = dn.schedules.VPLinear()
PROBLEM = dn.problems.three_peaks()
MODEL = PROBLEM.denoiser(SCHEDULE, "noise")
GRID = dn.grids.uniform_time(SCHEDULE, 6, t_end=1e-3)
RNG = np.random.default_rng(0)
TRAINING, HELD_OUT = RNG.standard_normal((12, 1)), RNG.standard_normal((200, 1))


def reference(grid: Any = GRID) -> Any:
    return exact_reference(PROBLEM, TRAINING, SCHEDULE, grid)


@cache
def searched(objective: str) -> Any:
    return search_ratios("dc_solver_3_bh2", SCHEDULE, GRID, MODEL, TRAINING, reference(), objective=objective)


def error(ratios: Any, x: Any) -> float:
    found = dn.solve(dn.plan("dc_solver_3_bh2", SCHEDULE, GRID, parameters={"ratio": ratios}), MODEL, x)
    return float(np.sqrt(np.mean((found - PROBLEM.flow(x, SCHEDULE, 1.0, 1e-3)) ** 2)))


@given(st.lists(st.lists(st.floats(-2, 2), min_size=4, max_size=4), min_size=1, max_size=4))
@example([[0.5], [2.0], [3e-226]])  # a leading coefficient that is nothing in the interval, and all in a companion
def test_the_closed_form_minimiser_is_the_global_one_on_the_interval(rows: list[list[float]]) -> None:
    coefficients = np.array(rows)
    found = minimise_polynomial_loss(coefficients, (-0.5, 0.5))
    assert -0.5 <= found <= 0.5

    def loss(u: Any) -> Any:
        return sum(np.polynomial.polynomial.polyval(u, column) ** 2 for column in coefficients.T)

    lattice = np.linspace(-0.5, 0.5, 401)
    assert loss(found) <= loss(lattice).min() + 1e-9 * (1 + loss(lattice).max())


def test_a_loss_without_a_ratio_stays_where_it_is() -> None:
    assert minimise_polynomial_loss(np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]), (-0.5, 0.5)) == 0.0


@pytest.mark.parametrize("step", [2, 4, 5])
def test_the_closed_form_agrees_with_a_numerical_optimiser_on_the_predicted_state(step: int) -> None:
    ratios = searched("predictor").ratios

    def loss(ratio: float) -> float:
        trial = ratios.copy()
        trial[step] = ratio
        # a plan that stops after the step does not correct it: its result is the predicted state
        times = dn.grids.from_times(SCHEDULE, GRID.t[: step + 2])
        plan = dn.plan("dc_solver_3_bh2", SCHEDULE, times, parameters={"ratio": trial[: step + 1]})
        return float(np.mean((dn.solve(plan, MODEL, TRAINING) - reference()[step + 1]) ** 2))

    found = minimize_scalar(loss, bounds=(0.5, 1.5), method="bounded", options={"xatol": 1e-10})
    assert loss(float(ratios[step])) <= found.fun * (1 + 1e-9)
    np.testing.assert_allclose(searched("predictor").losses[step], loss(float(ratios[step])), rtol=1e-9)
    if 0.5 < ratios[step] < 1.5:
        assert ratios[step] == pytest.approx(found.x, abs=1e-5)


@pytest.mark.parametrize("objective", ["predictor", "step"])
def test_each_searched_step_is_at_least_as_close_and_warm_up_is_untouched(objective: str) -> None:
    found = searched(objective)
    assert (found.losses <= found.plain_losses).all()
    np.testing.assert_array_equal(found.ratios[:2], 1.0)
    assert np.abs(found.ratios[2:] - 1).max() > 0.01


def test_searched_ratios_help_on_states_that_they_have_not_seen() -> None:
    assert error(searched("step").ratios, HELD_OUT) < error(1.0, HELD_OUT)
    assert error(np.array([1, 1, 0.6, 1.4, 0.6, 1.4]), HELD_OUT) > error(1.0, HELD_OUT)


def test_impossible_searches_are_refused() -> None:
    def search(**changed: Any) -> Any:
        given_ = {"method": "dc_solver_3_bh2", "grid": GRID, "reference": reference(), **changed}
        return search_ratios(schedule=SCHEDULE, model=MODEL, x=TRAINING, **given_)

    with pytest.raises(ValueError, match="method='unipc_3_bh2' has no compensation ratios"):
        search(method="unipc_3_bh2")
    with pytest.raises(ValueError, match=r"reference has shape \(6, 12, 1\): give one state a node, \(7, 12, 1\)"):
        search(reference=reference()[:-1])
    with pytest.raises(ValueError, match="objective='mean' is unknown: use one of predictor, step"):
        search(objective="mean")
    with pytest.raises(ValueError, match=r"bounds=\(1.1, 1.5\) do not enclose 1"):
        search(bounds=(1.1, 1.5))
    with pytest.raises(ValueError, match="grid ends at sigma = 0"):
        search(grid=dn.grids.to_zero(dn.grids.uniform_time(SCHEDULE, 5, t_end=1e-3), SCHEDULE))


def samples(regression: CascadeRegression) -> dict[tuple[int, float], Any]:
    return {(n, w): regression.ratios(n, w) for n in (5, 8, 10, 20) for w in (1.5, 4.0, 7.5)}


@given(st.lists(st.floats(-0.3, 0.3), min_size=27, max_size=27))
def test_the_cascade_recovers_what_it_can_express_and_predicts_unseen_settings(numbers: list[float]) -> None:
    truth = CascadeRegression(np.array(numbers).reshape(3, 3, 3), warm_up=2)
    found = CascadeRegression.fit(samples(truth))
    np.testing.assert_allclose(found.ratios(14, 6.0), truth.ratios(14, 6.0), atol=1e-9)
    np.testing.assert_array_equal(found.ratios(14, 6.0)[:2], 1.0)
    clipped = found.ratios(14, 6.0, bounds=(0.5, 1.5))
    assert ((clipped >= 0.5) & (clipped <= 1.5)).all()
    assert found.ratios(2, 6.0).tolist() == [1.0, 1.0]


def test_a_cascade_of_lower_degree_cannot_express_it() -> None:
    truth = CascadeRegression(np.full((3, 3, 3), 0.1), warm_up=2)
    found = CascadeRegression.fit(samples(truth), degrees=(1, 1, 1))
    assert np.abs(found.ratios(14, 6.0) - truth.ratios(14, 6.0)).max() > 1e-3


def test_too_few_settings_and_wrong_lengths_are_refused() -> None:
    truth = samples(CascadeRegression(np.zeros((3, 3, 3)), warm_up=2))
    with pytest.raises(ValueError, match=r"guidance scales at 5 steps: 2 of them, a polynomial of degree 2 needs 3"):
        CascadeRegression.fit({key: value for key, value in truth.items() if key[1] < 5})
    with pytest.raises(ValueError, match=r"numbers of steps: 1 of them"):
        CascadeRegression.fit({key: value for key, value in truth.items() if key[0] == 8})
    with pytest.raises(ValueError, match=r"samples\[\(5, 1.5\)\] has shape \(4,\): give one finite ratio a step"):
        CascadeRegression.fit({**truth, (5, 1.5): np.ones(4)})
