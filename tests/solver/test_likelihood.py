"""Log-densities along the flow: those of exact problems, at the order of the plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffnum as dn

SCHEDULE = dn.schedules.VPLinear()
PROBLEM = dn.GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, -0.3]], [[0.2, 0.05], [0.3, 0.1]])
MODEL = PROBLEM.denoiser(SCHEDULE, "v")
T_START, T_END = 0.9, 0.05
DATA = PROBLEM.at(SCHEDULE, T_END).sample(6, seed=3)
EXACT = PROBLEM.at(SCHEDULE, T_END).log_prob(DATA)


def planned(name: str, steps: int, schedule: dn.schedules.Schedule = SCHEDULE) -> dn.Plan:
    grid = dn.grids.uniform_half_log_snr(schedule, n=steps, t_start=T_START, t_end=T_END)
    start = "high_order" if dn.method(name).depth else None
    return dn.plan(name, schedule, grid, start=start)


def at_start(x: np.ndarray) -> np.ndarray:
    return PROBLEM.at(SCHEDULE, T_START).log_prob(x)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("edm_heun", 2), ("dpm_solver_3", 3)])
def test_the_error_has_the_order_of_the_plan(name: str, order: int) -> None:
    errors = [
        np.abs(dn.log_likelihood(planned(name, n), MODEL, DATA, prior=at_start).values - EXACT).max() for n in (60, 120)
    ]
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.35


def test_it_is_exact_in_the_limit() -> None:
    found = dn.log_likelihood(planned("dpm_solver_3", 200), MODEL, DATA, prior=at_start)
    np.testing.assert_allclose(found.values, EXACT, atol=2e-5)
    np.testing.assert_allclose(found.latents, PROBLEM.flow(DATA, SCHEDULE, T_END, T_START), atol=1e-4)
    np.testing.assert_array_equal(found.standard_error, 0.0)


def test_pure_noise_as_the_prior_costs_what_is_left_of_the_data() -> None:
    """The negative control of the prior: at t = 0.9 alpha is 0.016 and the densities are off by about as much."""
    found = dn.log_likelihood(planned("dpm_solver_3", 200), MODEL, DATA)
    gap = np.abs(found.values - EXACT).max()
    assert 1e-3 < gap < 0.2


def test_probes_are_unbiased_and_their_error_is_told() -> None:
    plan = planned("dpm_solver_3", 40)
    exact = dn.log_likelihood(plan, MODEL, DATA, prior=at_start).values
    found = dn.log_likelihood(plan, MODEL, DATA, trace="hutchinson", probes=400, seed=1, prior=at_start)
    assert np.all(np.abs(found.values - exact) < 4 * found.standard_error)
    assert np.all(found.standard_error < 0.2)
    more = dn.log_likelihood(plan, MODEL, DATA, trace="hutchinson", probes=1600, seed=2, prior=at_start)
    assert abs(np.median(found.standard_error / more.standard_error) - 2) < 0.4


def test_probes_have_no_error_where_the_jacobian_is_diagonal() -> None:
    """Random signs see the diagonal exactly: their variance is that of the rest of the matrix."""
    gaussian = dn.Gaussian([0.3, 0.1, 0.0], [1.0, 0.4, 0.1])
    model, x = gaussian.denoiser(SCHEDULE), gaussian.sample(3, seed=0)
    plan = planned("dpmpp_2m", 20)
    exact = dn.log_likelihood(plan, model, x)
    found = dn.log_likelihood(plan, model, x, trace="hutchinson", probes=3)
    np.testing.assert_allclose(found.values, exact.values, rtol=1e-9)
    np.testing.assert_allclose(found.standard_error, 0.0, atol=1e-9)
    assert np.isnan(dn.log_likelihood(plan, model, x, trace="hutchinson").standard_error).all()


def test_bits_are_those_of_the_density() -> None:
    found = dn.log_likelihood(planned("dpmpp_2m", 10), MODEL, DATA)
    np.testing.assert_allclose(found.bits_per_dimension(), -found.values / (2 * np.log(2)))
    np.testing.assert_allclose(found.bits_per_dimension(256), found.bits_per_dimension() + 7)


def test_a_density_that_is_not_finite_is_refused() -> None:
    class Broken:
        """Finite values, and a derivative that is not at the last node towards the noise."""

        prediction, schedule = MODEL.prediction, SCHEDULE

        def __call__(self, x: Any, t: Any) -> Any:
            return MODEL(x, t)

        def vjp(self, x: Any, t: Any, cotangent: Any) -> Any:
            return MODEL.vjp(x, t, cotangent) * (np.nan if t > 0.7 else 1.0)

    with pytest.raises(ValueError, match="or its density, is not finite in sample 0"):
        dn.log_likelihood(planned("ddim", 10), Broken(), DATA)


def test_bad_input_says_what_to_do() -> None:
    plan = planned("ddim", 4)
    with pytest.raises(ValueError, match="trace='guess'"):
        dn.log_likelihood(plan, MODEL, DATA, trace="guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probes=0"):
        dn.log_likelihood(plan, MODEL, DATA, trace="hutchinson", probes=0)
    mean = dn.schedules.MeanReverting(mean=0.3)
    with pytest.raises(ValueError, match="without a mean"):
        dn.log_likelihood(planned("ddim", 4, mean), PROBLEM.denoiser(mean), DATA)
    with pytest.raises(ValueError, match="no counterpart towards the noise"):
        dn.log_likelihood(planned("ddpm", 4), MODEL, DATA)
