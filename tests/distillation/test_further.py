"""Transport, preferences, guidance, spectra, observations, solver estimates: each against what is known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import ndtr

from diffnum import Gaussian, GaussianMixture
from diffnum.distillation import (
    FeatureStudent,
    Generator,
    band_error,
    decision_level,
    difficulty_profile,
    exact_batch,
    flow_map,
    guidance_distillation,
    observation_loss,
    preference_loss,
    resting_point,
    semi_discrete,
    undetermined,
    wiener_gain,
)
from diffnum.guidance import classifier_free
from diffnum.problems import gaussian_example, three_peaks
from diffnum.schedules import FlowMatching, VPLinear

SCHEDULE = FlowMatching()


# ---------------------------------------------------------------- transport


@pytest.mark.parametrize("source", ["normal", "uniform"])
def test_the_semi_discrete_map_is_the_gradient_of_its_potential(source: str) -> None:
    found = semi_discrete([0.4, -1.0, 2.0], [0.2, 0.5, 0.3], source=source)
    assert found.masses(source) == pytest.approx(found.weights, abs=1e-14)
    x = np.linspace(0.001, 0.999, 500)
    best = np.argmax(x[:, None] * found.points + found.heights, axis=1)
    assert np.array_equal(found(x), found.points[best])


def test_heights_found_for_a_uniform_source_carry_wrong_masses_of_normal_noise() -> None:
    shipped = semi_discrete(np.linspace(-1.0, 1.0, 5), source="uniform")
    masses = shipped.masses("normal")
    assert masses[0] == pytest.approx(ndtr(0.2), abs=1e-14)  # all negative noise goes to one point
    assert np.abs(masses - 0.2).max() > 0.3


def test_the_flow_of_a_gaussian_is_its_optimal_map_and_that_of_a_mixture_is_on_the_line_too() -> None:
    """On the line both are the increasing rearrangement: the semi-discrete map tends to it as points become many."""
    flow = flow_map(three_peaks(), SCHEDULE)
    x = np.linspace(-2.0, 2.0, 41)
    levels = (np.arange(4000) + 0.5) / 4000
    from scipy.special import ndtri

    points = flow.consistency(ndtri(levels)[:, None], 1.0)[:, 0]
    found = semi_discrete(points)
    assert np.abs(found(x) - flow.consistency(x[:, None], 1.0)[:, 0]).max() <= 5e-3


# ---------------------------------------------------------------- preferences


@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("curvature", [0.0, 0.8])
def test_preference_losses_rest_at_the_tilt(pairwise: bool, curvature: float) -> None:
    loss = preference_loss(
        Gaussian([0.3], 0.7), slope=0.6, curvature=curvature, temperature=0.5, pairwise=pairwise, spacing=0.4
    )
    goal = loss.optimum
    at_goal = Generator([[goal.mean[0]]], [[np.sqrt(goal.eigenvalues[0])]])
    assert np.abs(loss.gradient(at_goal)).max() <= 1e-12
    start = Generator([[0.0]], [[1.0]])
    found = minimize(
        lambda p: loss.value(start.replace(p)),
        start.parameters,
        jac=lambda p: loss.gradient(start.replace(p)),
        tol=1e-12,
    ).x
    assert found == pytest.approx(at_goal.parameters, abs=1e-5)
    step = 1e-5
    numeric = [
        (loss.value(start.replace([step * (i == 0), 1.0 + step * (i == 1)]))
         - loss.value(start.replace([-step * (i == 0), 1.0 - step * (i == 1)]))) / (2 * step)
        for i in range(2)
    ]  # fmt: skip
    assert loss.gradient(start) == pytest.approx(numeric, abs=1e-7)


def test_the_optimum_is_the_reference_times_the_exponential_of_the_reward() -> None:
    loss = preference_loss(Gaussian([0.3], 0.7), slope=0.6, curvature=0.8, temperature=0.5)
    x = np.linspace(-2.0, 2.0, 9)[:, None]
    tilted = loss.reference.log_prob(x) + (0.6 * x - 0.4 * x**2)[:, 0] / 0.5
    assert np.ptp(tilted - loss.optimum.log_prob(x)) <= 1e-12


# ---------------------------------------------------------------- guidance


def test_an_affine_student_of_guided_gaussians_is_the_guided_model() -> None:
    """Both models are affine, so is their combination: the student has loss zero, on any law of states."""
    conditional, whole = (g.denoiser(SCHEDULE) for g in (Gaussian([1.0], 0.2), Gaussian([0.0], 1.0)))
    guided = classifier_free(conditional, 3.0, unconditional=whole)
    loss, pairs = guidance_distillation(guided, [0.5]), exact_batch(Gaussian([1.0], 0.2), spacing=0.4)
    rest = resting_point(loss, FeatureStudent(np.zeros((1, 4)), np.zeros((3, 1))), pairs)
    assert loss.terms(rest, pairs).value <= 1e-20
    x = np.array([[-3.0], [4.0]])
    assert rest(x, 0.5) == pytest.approx(np.asarray(guided(x, 0.5)), abs=1e-9)


def test_a_small_student_depends_on_the_law_of_its_states() -> None:
    mixture = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.1, 0.1], labels=[0, 1])
    guided = classifier_free(mixture.conditional(1).denoiser(SCHEDULE), 3.0, unconditional=mixture.denoiser(SCHEDULE))
    affine, loss = FeatureStudent(np.zeros((1, 4)), np.zeros((3, 1))), guidance_distillation(guided, [0.5])
    rests = [resting_point(loss, affine, exact_batch(law, spacing=0.4)) for law in (mixture, mixture.conditional(1))]
    assert np.abs(rests[0].coefficients - rests[1].coefficients).max() > 0.1


# ---------------------------------------------------------------- spectra


def test_wieners_gain_is_the_exact_denoiser_of_each_frequency() -> None:
    spectrum = 1.0 / np.arange(1, 9) ** 2
    field = Gaussian(np.zeros(8), spectrum)
    x = field.at(VPLinear(), 0.4).sample(5, 0)
    assert wiener_gain(spectrum, VPLinear(), 0.4) * x == pytest.approx(field.denoiser(VPLinear())(x, 0.4), abs=1e-13)


def test_half_of_a_frequency_is_explained_at_its_decision_level() -> None:
    spectrum = 1.0 / np.arange(1, 9) ** 2
    for k, level in enumerate(decision_level(spectrum)):
        t = level / (1.0 + level)
        assert SCHEDULE.alpha(t) * wiener_gain(spectrum, SCHEDULE, t)[k] == pytest.approx(0.5, abs=1e-13)


def test_spectral_weights_make_lost_frequencies_count_alike() -> None:
    spectrum = 1.0 / np.arange(1, 9) ** 2
    losses = []
    for k in (1, 7):
        kept = np.arange(8) != k
        plain = band_error(spectrum, SCHEDULE, 0.02, kept)
        losses.append((plain, band_error(spectrum, SCHEDULE, 0.02, kept, weights=1.0 / spectrum)))
    assert losses[0][0] > 10.0 * losses[1][0]
    assert losses[0][1] == pytest.approx(losses[1][1], rel=0.05)


# ---------------------------------------------------------------- observations


def test_directions_that_no_observation_sees_have_no_gradient() -> None:
    covariance = gaussian_example(3).covariance_matrix
    operators = [np.eye(3)[[0, 1]], np.eye(3)[[2]]]  # never coordinates 0 and 2, or 1 and 2, together
    hidden = undetermined(operators)
    assert len(hidden) == 2
    loss = observation_loss(covariance, operators, 0.1)
    student = np.diag([1.0, 0.5, 0.8])
    for direction in hidden:
        assert abs(np.sum(loss.gradient(student) * direction)) <= 1e-12
        assert loss.value(covariance + 0.1 * direction) <= 1e-12
    assert loss.value(student) > 0.1
    assert len(undetermined([*operators, np.eye(3)[[0, 2]], np.eye(3)[[1, 2]]])) == 0


def test_the_gradient_of_observations_is_a_derivative() -> None:
    loss = observation_loss(gaussian_example(3).covariance_matrix, [np.eye(3)[[0, 1]], np.ones((1, 3))], 0.2)
    student, direction = np.diag([1.0, 0.5, 0.8]), np.array([[0.2, 0.1, 0.3], [0.1, -0.3, 0.2], [0.3, 0.2, 0.5]])
    numeric = (loss.value(student + 1e-5 * direction) - loss.value(student - 1e-5 * direction)) / 2e-5
    assert np.sum(loss.gradient(student) * direction) == pytest.approx(numeric, rel=1e-8)


# ---------------------------------------------------------------- estimates of a solver


def test_estimates_have_the_order_of_the_embedded_pair_and_the_stiffness_of_the_flow() -> None:
    flow = flow_map(Gaussian([0.0], 0.04), SCHEDULE)
    x = np.array([[0.5], [-1.0]])
    coarse, fine = (difficulty_profile(flow, x, [0.8, 0.5], h) for h in (0.02, 0.01))
    assert np.log2(coarse.error / fine.error) == pytest.approx(5.0, abs=0.25)
    # Of an affine flow the quotient is the slope of the velocity at the end of the step.
    slope = flow.velocity(np.array([[1.0]]), 0.49) - flow.velocity(np.array([[0.0]]), 0.49)
    assert fine.stiffness[1] == pytest.approx(abs(float(slope[0, 0])), rel=1e-6)


def test_a_uniform_random_time_is_unbiased_and_the_solvers_own_times_are_not() -> None:
    flow = flow_map(three_peaks(), SCHEDULE)
    x = three_peaks().at(SCHEDULE, 0.95).sample(30, 0)
    profile = difficulty_profile(flow, x, np.linspace(0.95, 0.1, 120), 0.02)
    rng = np.random.default_rng(0)
    drawn = np.interp(rng.uniform(0.1, 0.95, 20000), profile.times[::-1], profile.error[::-1])
    assert drawn.mean() == pytest.approx(profile.mean(), abs=4.0 * drawn.std() / np.sqrt(20000))
    dense = profile.error**0.2  # a solver of order 5 steps as error per step is the same everywhere
    assert profile.mean(density=dense) > 1.1 * profile.mean()


# ---------------------------------------------------------------- refusals


def test_bad_input_is_refused() -> None:
    checks: list[tuple[Any, str]] = [
        (lambda: semi_discrete([0.0, 0.0]), "twice: use different points"),
        (lambda: semi_discrete([0.0, 1.0], [1.0, 0.0]), "1 of them zero"),
        (lambda: semi_discrete([0.0, 1.0], source="laplace"), "source='laplace' is not known"),
        (lambda: preference_loss(gaussian_example(2), slope=1.0), "reference has dimension 2"),
        (lambda: preference_loss(Gaussian([0.0], 1.0), slope=1.0, temperature=0.0), "temperature=0.0"),
        (lambda: preference_loss(Gaussian([0.0], 1.0), slope=1.0, curvature=-2.0), "tilts the reference to no density"),
        (lambda: wiener_gain([1.0, 0.0], SCHEDULE, 0.5), "spectrum has 0.0"),
        (lambda: band_error([1.0, 2.0], SCHEDULE, 0.5, [True]), "use one entry a frequency"),
        (lambda: observation_loss(np.eye(2), [np.eye(2)], 0.0), "noise=0.0"),
        (lambda: undetermined([np.eye(2), np.eye(3)]), r"2 matrices of \[2, 3\] columns"),
        (lambda: difficulty_profile(flow_map(three_peaks(), SCHEDULE), np.zeros((1, 1)), [0.5], 0.1), "not monotone"),
        (lambda: difficulty_profile(flow_map(three_peaks(), SCHEDULE), np.zeros((1, 1)), [0.5, 0.4], 0.0), "step=0.0"),
    ]
    for call, said in checks:
        with pytest.raises(ValueError, match=said):
            call()
