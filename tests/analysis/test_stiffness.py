"""Stiffness is read off the Jacobian, and a plan amplifies what its region of stability says it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.analysis import amplification, largest_stiffness, linear_step, stability, stiffness
from diffnum.guidance import classifier_free
from diffnum.types import Prediction

VP = dn.schedules.VPLinear()
WIDE, NARROW = np.array([1.0, 0.25]), np.array([0.01, 0.25])


def gaussian(variances: Any, prediction: Prediction = "data") -> Any:
    return dn.Gaussian(np.zeros(2), np.diag(variances)).denoiser(VP, prediction)


def shrinkage(variances: Any, t: float) -> Any:
    return variances / (variances + np.exp(-2.0 * float(VP.half_log_snr(t))))


@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "score", "v"])
def test_gaussian_data_have_the_stiffness_of_the_formula(prediction: Prediction) -> None:
    x = np.ones((3, 2))
    got = stiffness(gaussian(WIDE, prediction), x, 0.3)
    np.testing.assert_allclose(got, np.tile(np.sort(1.0 - shrinkage(WIDE, 0.3)), (3, 1)), rtol=1e-9)


@given(scale=st.floats(0, 20), t=st.floats(0.05, 0.95))
def test_guidance_combines_covariances_and_grows_like_the_scale(scale: float, t: float) -> None:
    model = classifier_free(gaussian(NARROW), scale, unconditional=gaussian(WIDE))
    expected = 1.0 - scale * shrinkage(NARROW, t) + (scale - 1.0) * shrinkage(WIDE, t)
    np.testing.assert_allclose(stiffness(model, np.zeros((1, 2)), t)[0], np.sort(expected), rtol=1e-8, atol=1e-9)


def test_power_iteration_finds_the_largest() -> None:
    mixture = dn.GaussianMixture([0.5, 0.5], [[1.0, 0.0], [-1.0, 0.2]], [0.02, 0.05])
    x = np.random.default_rng(0).standard_normal((6, 2))
    model = mixture.denoiser(VP, "noise")
    every = stiffness(model, x, 0.4)
    largest = np.take_along_axis(every, np.argmax(np.abs(every), axis=1)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(largest_stiffness(model, x, 0.4, iterations=200), largest, rtol=1e-6)


def test_networks_have_a_stiffness_too() -> None:
    torch = pytest.importorskip("torch")
    model = dn.load("toy/digits", dtype="float64").conditioned(3)
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    every = stiffness(model, x, 0.6)
    assert every.shape == (1, 64)
    close = largest_stiffness(model, x, 0.6, iterations=40)
    assert 0.9 * every[0, -1] < close[0] < 1.01 * every[0, -1]  # the Jacobian of a network is not quite symmetric
    tangent, step = torch.randn_like(x), 1e-6
    slope = (model(x + step * tangent, 0.6) - model(x - step * tangent, 0.6)) / (2 * step)
    torch.testing.assert_close(model.jvp(x, 0.6, tangent), slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "eab_4", "dpmpp_2s"])
def test_constant_stiffness_is_amplified_outside_the_region_only(name: str) -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 60)
    h = float(grid.lam[1] - grid.lam[0])
    numbers, limit = dn.plan(name, VP, grid), stability(name, h).stiffness
    below = amplification(numbers, lambda t: 0.98 * limit)
    above = amplification(numbers, lambda t: 1.05 * limit)
    steady = linear_step(name, h)
    rate = float(steady.radius(-1.05 * limit * h))
    assert rate > 1.0
    assert below[10, -2] < 1.0
    np.testing.assert_allclose(above[10, 40] / above[10, 35], rate**5, rtol=1e-3)


def test_a_perturbation_without_stiffness_stays_as_it_is() -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 6)
    found = amplification(dn.plan("ddim", VP, grid), lambda t: 0.0)
    assert found.shape == (6, 7)
    np.testing.assert_allclose(found[np.triu_indices(6, 0, 7)], 1.0, rtol=1e-12)
    np.testing.assert_array_equal(found[np.tril_indices(6, -1, 7)], 0.0)
    # a multistep method has a memory that is not perturbed, which it remembers for ever, and no more than that
    two = amplification(dn.plan("lms_2", VP, grid), lambda t: 0.0)
    np.testing.assert_allclose(two[np.triu_indices(6, 0, 7)], 1.0, rtol=1e-12)


def subject(scale: float) -> Any:
    """A narrow Gaussian class in a wide population: the guided flow is linear, and stiff in one direction."""
    whole = dn.Gaussian(np.zeros(2), np.diag(WIDE)).denoiser(VP)
    return classifier_free(dn.Gaussian(np.array([0.8, 0.3]), np.diag(NARROW)).denoiser(VP), scale, unconditional=whole)


def error(name: str, scale: float, n: int) -> float:
    """Error of a method with n steps, against a method of order 4 with ten times as many."""
    x = np.random.default_rng(0).standard_normal((16, 2))
    runs = [
        dn.solve(dn.plan(m, VP, dn.grids.uniform_half_log_snr(VP, k)), subject(scale), x)
        for m, k in ((name, n), ("rho_rk_rk4", 10 * n))
    ]
    return float(np.sqrt(np.mean((runs[0] - runs[1]) ** 2) / np.mean(runs[1] ** 2)))


def test_high_order_is_unstable_at_a_large_guidance_scale_where_the_analysis_says_so() -> None:
    numbers = {name: dn.plan(name, VP, dn.grids.uniform_half_log_snr(VP, 20)) for name in ("ddim", "eab_4", "plms_4")}

    def growth(name: str, scale: float) -> float:
        def along(t: float) -> float:
            return float(1.0 - scale * shrinkage(NARROW, t)[0] + (scale - 1.0) * shrinkage(WIDE, t)[0])

        return float(amplification(numbers[name], along).max())

    for name in ("eab_4", "plms_4"):
        assert error(name, 1.0, 20) < 0.2 * error("ddim", 1.0, 20)
        assert growth(name, 1.0) < 2.0
        assert error(name, 7.5, 20) > 100.0 * error("ddim", 7.5, 20)
        assert growth(name, 7.5) > 100.0 * growth("ddim", 7.5)


def test_heavy_ball_and_data_prediction_move_the_limit_as_far_as_their_regions_say() -> None:
    h = 0.5
    limits = {name: stability(name, h).real for name in ("plms_3", "ghvb_2.8", "plms_2", "ghvb_1.8", "ghvb_1.5")}
    np.testing.assert_allclose(limits["ghvb_1.8"] / limits["plms_2"], 1.2, rtol=1e-6)
    np.testing.assert_allclose(limits["ghvb_1.5"] / limits["plms_2"], 1.5, rtol=1e-6)
    assert 1.1 < limits["ghvb_2.8"] / limits["plms_3"] < 1.25
    assert 1.0 < stability("dpmpp_2m", h).real / stability("dpm_solver_2m", h).real < 1.15
