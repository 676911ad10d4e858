"""Expectations by backward recursion: right where they are known, and weak orders on nonlinear data decided."""

import numpy as np
import pytest

import diffnum as dn
from diffnum.coefficients.catalogue import method as find
from diffnum.convergence.expectations import FUNCTIONS, expectation, expectation_study
from diffnum.problems import Mixture1D, three_peaks

VP = dn.schedules.VPLinear()
ONE = {"cos x": FUNCTIONS["cos x"]}


def grid_of(n):
    return dn.grids.from_half_log_snr(VP, np.linspace(-1.0, 1.0, n + 1))


@pytest.mark.parametrize("name", ["sde_dpmpp_1", "seeds_2", "sde_dpmpp_2m", "sa_solver_1_2", "dpm_2_ancestral"])
def test_moments_on_gaussian_data_are_those_of_exact_propagation(name):
    problem = Mixture1D([1.0], [0.4], [0.3])
    numbers = dn.plan(find(name), VP, grid_of(6))
    model = problem.denoiser(VP, numbers.prediction)
    starts = np.array([-1.3, 0.0, 0.9])
    law = dn.analysis.propagate(numbers, 0.4, [0.3])
    mean = law.gain[0] * starts + law.response[0] * 0.4
    found = [expectation(numbers, model, problem, f, starts) for f in (lambda x: x, lambda x: x**2)]
    np.testing.assert_allclose(found[0], mean, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found[1], mean**2 + law.noise_variance[0], rtol=1e-7, atol=1e-8)


def test_expectations_agree_with_sampling():
    numbers = dn.plan("sde_dpmpp_2m", VP, grid_of(5))
    model = three_peaks().denoiser(VP, "data")
    exact = expectation(numbers, model, three_peaks(), np.cos, np.array([0.7]))[0]
    sampled = np.cos(dn.solve(numbers, model, np.full((40000, 1), 0.7), seed=0))
    assert abs(sampled.mean() - exact) < 5 * sampled.std() / 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "order"), [("sde_trapezoid", 2), ("dpm_2_ancestral", 2), ("sde_dpmpp_1", 1), ("sde_dpmpp_2m", 2)]
)
def test_the_order_in_law_holds_on_a_mixture(name, order):
    expectation_study(name, given_start=False, functions=ONE).assert_order(order)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "order"), [("sde_trapezoid_tau0.5", 2), ("dpm_2_ancestral", 1)])
def test_the_weak_order_holds_on_a_mixture(name, order):
    study = expectation_study(name, functions=ONE)
    study.assert_order(order)
    assert study.kind == "weak"


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: expectation_study("ddim"), "convergence_study"),
        (lambda: expectation_study("er_sde_2"), "noise level that varies"),
        (lambda: expectation_study("edm_heun_churn_given"), "takes churn"),
        (lambda: expectation_study("sde_dpmpp_3m", given_start=False), "carries 2 vectors"),
        (
            lambda: expectation(
                dn.plan("ddpm", VP, grid_of(2)), None, dn.problems.Gaussian([0.0, 1.0], [1.0, 1.0]), np.cos, np.zeros(1)
            ),
            "2 dimensions",
        ),
    ],
)
def test_what_cannot_be_tabulated_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
