"""A single Gaussian: its closed-form flow, its law over time, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import multivariate_normal

from diffnum.problems import Gaussian, gaussian_example
from diffnum.problems._flow import integrate
from diffnum.types import Problem
from tests.optional import optional

from .cases import PREDICTIONS, SCHEDULES, close, fractions, inner_time, schedules, seeds, states

torch = optional("torch")

FORMS = {
    "full": gaussian_example(),
    "diagonal": Gaussian([1.0, -1.0], [0.5, 2.0]),
    "isotropic": Gaussian([1.0, -1.0], 0.5),
}


@pytest.mark.parametrize("form", FORMS)
def test_density_and_record_agree_with_scipy(form):
    problem = FORMS[form]
    assert isinstance(problem, Problem)
    x = problem.sample(5, seed=0)
    expected = multivariate_normal(problem.mean, problem.covariance_matrix).logpdf(x)
    close(problem.log_prob(x), expected, 1e-12)
    rebuilt = (problem.eigenvectors.T * problem.eigenvalues) @ problem.eigenvectors
    close(rebuilt, problem.covariance_matrix, 1e-14)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_closed_form_flow_is_the_integrated_one_up_to_both_ends(form, name):
    problem, schedule = FORMS[form], SCHEDULES[name]
    x = states(problem, schedule, schedule.t_max)
    ends = [(float(schedule.alpha(t)), float(schedule.sigma(t))) for t in (schedule.t_max, schedule.t_min)]
    drifts = [(1 - alpha) * schedule.mean for alpha, _ in ends]
    expected = integrate(problem.mixture.core.predict, x - drifts[0], *ends) + drifts[1]
    close(problem.flow(x, schedule, schedule.t_max, schedule.t_min), expected, 5e-13)


@settings(max_examples=40, deadline=None)
@given(seeds, schedules, fractions, fractions)
def test_flow_carries_the_law_at_one_time_to_the_law_at_another(seed, schedule, first, last):
    problem = gaussian_example(3, seed)
    t_from, t_to = inner_time(schedule, first), inner_time(schedule, last)
    before, after = problem.at(schedule, t_from), problem.at(schedule, t_to)
    probes = np.vstack([np.zeros((1, 3)), np.eye(3)])
    moved = problem.flow(before.mean + probes, schedule, t_from, t_to)
    jacobian = (moved[1:] - moved[0]).T
    close(moved[0], after.mean, 1e-12)
    close(jacobian @ before.covariance_matrix @ jacobian.T, after.covariance_matrix, 1e-11)


@settings(max_examples=40, deadline=None)
@given(seeds, schedules, fractions)
def test_score_is_minus_precision_times_residual(seed, schedule, fraction):
    problem, t = gaussian_example(3, seed), inner_time(schedule, fraction)
    law, x = problem.at(schedule, t), states(problem, schedule, t)
    expected = -np.linalg.solve(law.covariance_matrix, (x - law.mean).T).T
    close(problem.denoiser(schedule, "score")(x, t), expected, 1e-11)
    assert np.max(np.abs(problem.denoiser(schedule, "noise")(x, t) - expected)) > 1e-6


def test_torch_states_are_carried_and_returned_as_they_came():
    problem, schedule = FORMS["full"], SCHEDULES["vp-linear"]
    x = states(problem, schedule, 1.0)
    expected = problem.flow(x, schedule, 1.0, 0.1)
    answer = problem.flow(torch.tensor(x, dtype=torch.float32), schedule, 1.0, 0.1)
    assert answer.dtype == torch.float32
    close(answer, expected, 1e-6)
    for prediction in PREDICTIONS:
        assert problem.denoiser(schedule, prediction).prediction == prediction


def test_bad_gaussians_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"covariance has shape \(3,\); expected \(2, 2\), \(2,\) or a number"):
        Gaussian([0.0, 0.0], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="not positive definite: its smallest eigenvalue is -1"):
        Gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="not positive definite"):
        Gaussian([0.0, 0.0], -1.0)
    with pytest.raises(ValueError, match=r"mean has shape \(\)"):
        Gaussian(0.0, 1.0)
