"""Transport, preferences, guidance, spectra, observations, solver estimates: each against what is known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import RK45
from scipy.optimize import minimize
from scipy.special import ndtr

from diffnum import Gaussian, GaussianMixture, solve
from diffnum.distillation import (
    FeatureStudent,
    Generator,
    Pairs,
    affine_optimum,
    band_error,
    decision_level,
    difficulty_profile,
    exact_batch,
    feature_student,
    filter_responses,
    flow_map,
    generated_spectrum,
    guidance_distillation,
    normal_points,
    observation_loss,
    preference_loss,
    regularised_flow,
    resting_point,
    semi_discrete,
    spectral_distillation,
    train_generator,
    train_student,
    transport_loss,
    undetermined,
    wiener_gain,
)
from diffnum.grids import from_times
from diffnum.guidance import classifier_free
from diffnum.plans import plan_for
from diffnum.problems import gaussian_example, rotated_product, three_peaks
from diffnum.problems.terms.sums import matrices
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


HEIGHTS = [0.1, -0.9, 0.3]


def test_the_gradient_of_transport_is_the_derivative_of_its_dual() -> None:
    loss = transport_loss([-1.0, 2.0, 0.4], [0.5, 0.3, 0.2])
    student = loss.start.replace(HEIGHTS)
    numeric = [(loss.value(student.replace(HEIGHTS + e)) - loss.value(student.replace(HEIGHTS - e))) / 2e-5
               for e in 1e-5 * np.eye(3)]  # fmt: skip
    assert loss.gradient(student) == pytest.approx(numeric, abs=1e-9)


def test_cells_on_the_line_carry_what_points_of_noise_fall_into_them() -> None:
    loss = transport_loss(np.linspace(-1.0, 1.0, 4))
    student = loss.start.replace([0.3, -0.4, 0.2, 0.1])
    made = student(normal_points(100_000, 1))
    counted = [float(np.mean(made == y)) for y in loss.points]
    assert loss.masses(student) == pytest.approx(counted, abs=2e-5)
    assert counted[1] == 0.0  # a height so low leaves its point no cell


def test_training_finds_the_heights_of_quantiles() -> None:
    points, weights = [0.4, -1.0, 2.0], [0.2, 0.5, 0.3]
    loss = transport_loss(points, weights)
    trained, exact = train_generator(loss, loss.start, steps=300).student, semi_discrete(points, weights)
    gap = trained.heights[np.argsort(points)] - exact.heights
    assert np.ptp(gap) <= 1e-6
    assert np.abs(loss.gradient(loss.start.replace(exact.heights[[1, 0, 2]]))).max() <= 1e-15
    x = np.linspace(-3.0, 3.0, 50)
    assert np.array_equal(loss.start.replace(exact.heights[[1, 0, 2]])(x[:, None])[:, 0], exact(x))


def test_in_the_plane_heights_of_a_product_are_sums() -> None:
    """Known optimum: on a grid of points with a product of weights each axis is a problem of the line."""
    axes = [semi_discrete([-1.0, 0.2, 1.0], [0.3, 0.5, 0.2]), semi_discrete([-0.5, 0.8])]
    grid = np.array([[a, b] for a in axes[0].points for b in axes[1].points])
    loss = transport_loss(grid, np.outer(axes[0].weights, axes[1].weights).ravel())
    known = loss.start.replace(np.add.outer(axes[0].heights, axes[1].heights).ravel())
    assert np.abs(loss.gradient(known)).max() <= 2e-3
    trained = train_generator(loss, loss.start, steps=300, rate=0.05).student
    assert np.abs(loss.gradient(trained)).max() <= 1e-2
    assert loss.value(trained) == pytest.approx(loss.value(known), abs=1e-4)


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


TILTS = [
    pytest.param(reference, slope, pairwise, id=f"{name}-{'PSO' if pairwise else 'PRDP'}")
    for name, reference, slope in (
        ("line", three_peaks(), [0.6]),
        ("plane", rotated_product(2), [0.6, -0.3]),
        ("mixture", rotated_product(2).mixture, [0.6, -0.3]),
    )
    for pairwise in (False, True)
]


@pytest.mark.parametrize(("reference", "slope", "pairwise"), TILTS)
def test_tilts_of_mixtures_are_mixtures_and_rest_there(reference: Any, slope: list[float], pairwise: bool) -> None:
    loss = preference_loss(reference, slope=slope, curvature=0.8, temperature=0.5, pairwise=pairwise)
    goal, x = loss.optimum, reference.sample(20, 0)
    assert type(goal) is type(reference)
    reward = x @ np.asarray(slope) - 0.4 * np.sum(x**2, axis=1)
    assert np.ptp(reference.log_prob(x) + reward / 0.5 - goal.log_prob(x)) <= 1e-11
    made = goal.mixture
    policy = Generator(made.means, np.linalg.cholesky(matrices(made.covariances, made.dim)), made.weights)
    assert np.abs(loss.gradient(policy)).max() <= 1e-12
    moved = policy.replace(policy.parameters + 0.05)
    for e in 1e-3 * np.eye(len(moved.parameters))[:: 1 + len(moved.parameters) // 8]:
        f = [loss.value(moved.replace(moved.parameters + k * e)) for k in (1, -1, 2, -2)]
        numeric = (8.0 * (f[0] - f[1]) - (f[2] - f[3])) / 12e-3
        assert loss.gradient(moved) @ e == pytest.approx(numeric * 1e-3, rel=1e-6, abs=1e-11)


@pytest.mark.parametrize(("reference", "slope", "pairwise"), TILTS[:4])
def test_the_best_affine_policy_of_a_mixture_is_a_least_point(
    reference: Any, slope: list[float], pairwise: bool
) -> None:
    """Independent road: no policy near it or far from it has less, and the gradient vanishes."""
    loss = preference_loss(reference, slope=slope, curvature=0.8, temperature=0.5, pairwise=pairwise)
    best = loss.affine_optimum
    assert np.abs(loss.gradient(best)).max() <= 1e-12
    least, rng = loss.value(best), np.random.default_rng(0)
    for scale in (1e-3, 0.1, 1.0):
        away = best.replace(best.parameters + scale * rng.standard_normal(len(best.parameters)))
        assert loss.value(away) > least


def test_of_a_mixture_the_two_preference_losses_have_different_best_policies_and_none_is_that_of_moments() -> None:
    settings: dict[str, Any] = {"slope": 0.6, "curvature": 0.8, "temperature": 0.5}
    regression, ranks = (preference_loss(three_peaks(), pairwise=p, **settings) for p in (False, True))
    moments = affine_optimum(regression.optimum, "forward-kl")
    found = [g.parameters for g in (regression.affine_optimum, ranks.affine_optimum, moments)]
    assert min(np.abs(found[i] - found[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 5e-3


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


SPECTRUM = 1.0 / (1.0 + (np.fft.fftfreq(16) * 16) ** 2)
RUN = np.linspace(1.0, 0.0, 9)


def test_responses_are_those_of_filters_on_the_grid() -> None:
    rng = np.random.default_rng(0)
    for shape in ((12,), (8, 8)):
        rows = filter_responses(shape, 1)
        field = rng.standard_normal(shape)
        gain = (0.5 * rows[0] + 0.25 * rows[1]).reshape(shape)
        filtered = np.fft.ifftn(gain * np.fft.fftn(field)).real
        neighbours = [np.roll(field, k, axis) for k in (1, -1) for axis in range(len(shape))]
        assert filtered == pytest.approx(0.5 * field + 0.25 * np.mean(neighbours, axis=0), abs=1e-12)
    assert len(filter_responses((8, 8), 2)) == 6


def test_the_best_filter_is_a_least_squares_fit_and_training_finds_it() -> None:
    for weights in (None, 1.0 / SPECTRUM):
        loss = spectral_distillation(SPECTRUM, SCHEDULE, RUN[:-1], filter_responses((16,), 1), weights=weights)
        assert np.abs(loss.gradient(loss.optimum)).max() <= 1e-13
        trained = train_generator(loss, loss.start, steps=300).student
        assert loss.value(trained) == pytest.approx(loss.value(loss.optimum), rel=1e-6)


def test_the_spectral_loss_is_the_distance_of_denoised_fields() -> None:
    """Independent road: drawn fields through both denoisers; and the gradient is a derivative."""
    loss = spectral_distillation(SPECTRUM, SCHEDULE, [0.4], filter_responses((16,), 1))
    student = loss.start.replace([0.3, 0.2])
    field = Gaussian(np.zeros(16), SPECTRUM)
    x = field.at(SCHEDULE, 0.4).sample(40_000, 0)
    drawn = np.sum((x * student.gains[0] - field.denoiser(SCHEDULE)(x, 0.4)) ** 2, axis=1)
    assert loss.value(student) == pytest.approx(drawn.mean(), abs=4.0 * drawn.std() / 200.0)
    numeric = [(loss.value(student.replace(student.parameters + e))
                - loss.value(student.replace(student.parameters - e))) / 2e-4 for e in 1e-4 * np.eye(2)]  # fmt: skip
    assert loss.gradient(student) == pytest.approx(numeric, rel=1e-9)


def test_the_generated_spectrum_is_that_of_a_run_of_ddim() -> None:
    times = np.linspace(0.95, 0.05, 7)
    gains = np.stack([wiener_gain(SPECTRUM, SCHEDULE, t) for t in times[:-1]])
    x = np.diag(np.sqrt(SCHEDULE.alpha(0.95) ** 2 * SPECTRUM + 0.95**2))  # one standard deviation a frequency
    model = Gaussian(np.zeros(16), SPECTRUM).denoiser(SCHEDULE)
    made = np.asarray(solve(plan_for(model, "ddim", grid=from_times(SCHEDULE, times)), model, x))
    assert generated_spectrum(SPECTRUM, SCHEDULE, times, gains) == pytest.approx(np.diag(made) ** 2, rel=1e-12)


def test_spectral_weights_serve_faint_frequencies_at_the_cost_of_the_law() -> None:
    """Weights 1/S: of a short filter the relative error falls, and the distance W2 of what it generates rises."""
    found = []
    for weights in (None, 1.0 / SPECTRUM):
        loss = spectral_distillation(SPECTRUM, SCHEDULE, RUN[:-1], filter_responses((16,), 1), weights=weights)
        gains = loss.optimum.gains
        law = generated_spectrum(SPECTRUM, SCHEDULE, RUN, gains)
        faint = np.abs(gains - loss.goal)[:, np.argmin(SPECTRUM)].mean()
        found.append((faint, np.sum((law**0.5 - SPECTRUM**0.5) ** 2)))
    assert found[1][0] < 0.7 * found[0][0]
    assert found[1][1] > 1.5 * found[0][1]


# ---------------------------------------------------------------- observations

CORNERS = [np.eye(3)[[0, 1]], np.eye(3)[[2]]]
"""Never coordinates 0 and 2, or 1 and 2, together."""


def of_covariance(covariance: np.ndarray, mean: Any = (0.0, 0.0, 0.0)) -> Generator:
    return Generator(np.asarray(mean)[None], np.linalg.cholesky(covariance)[None])


def test_directions_that_no_observation_sees_have_no_gradient() -> None:
    data = gaussian_example(3)
    hidden = undetermined(CORNERS)
    assert len(hidden) == 2
    loss = observation_loss(data, CORNERS, 0.1)
    student = Generator(data.mean[None], np.diag([1.0, 0.7, 0.9])[None])
    for direction in hidden:
        turned = 0.5 * np.linalg.solve(student.factors[0], direction).T  # moves the covariance along the direction
        moved = np.concatenate([np.zeros(3), turned.ravel()])
        assert abs(loss.gradient(student) @ moved) <= 1e-12
        assert loss.value(of_covariance(data.covariance_matrix + 0.1 * direction, data.mean)) <= 1e-12
    assert loss.value(student) > 0.1
    assert len(undetermined([*CORNERS, np.eye(3)[[0, 2]], np.eye(3)[[1, 2]]])) == 0


def test_the_gradient_of_observations_is_a_derivative() -> None:
    loss = observation_loss(gaussian_example(3), [np.eye(3)[[0, 1]], np.ones((1, 3))], 0.2)
    student = of_covariance(np.array([[1.0, 0.2, 0.1], [0.2, 0.5, 0.0], [0.1, 0.0, 0.8]]), [0.3, -0.1, 0.2])
    numeric = []
    for e in 1e-5 * np.eye(len(student.parameters)):
        numeric.append((loss.value(student.replace(student.parameters + e))
                        - loss.value(student.replace(student.parameters - e))) / 2e-5)  # fmt: skip
    assert loss.gradient(student) == pytest.approx(numeric, abs=1e-8)


def test_of_a_mixture_an_affine_student_sees_the_moments_only() -> None:
    """Independent road: forward KL of what is observed of the mixture, by quadrature, up to the entropy of the data."""
    plane, direction = rotated_product(2), np.array([[0.6, 0.8]])
    loss = observation_loss(plane, [direction], 0.3)
    mixture = plane.mixture
    seen = GaussianMixture(
        mixture.weights,
        mixture.means @ direction.T,
        direction @ matrices(mixture.covariances, 2) @ direction.T + 0.09,
    )
    x = np.linspace(-8.0, 8.0, 4001)[:, None]
    data, gaps = np.exp(seen.log_prob(x)), []
    for factor in (0.6, 1.1):
        student = Generator([[0.1, 0.2]], [[factor, 0.8]])
        law = Gaussian(direction @ student.means[0], direction @ np.diag([factor**2, 0.64]) @ direction.T + 0.09)
        gaps.append(float(data @ (seen.log_prob(x) - law.log_prob(x))) * 0.004 - loss.value(student))
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-10)


def test_a_student_of_all_directions_finds_the_law_and_one_of_two_coordinates_does_not() -> None:
    data = Gaussian([0.4, -0.2], [[0.5, 0.3], [0.3, 0.4]])
    start = Generator([[0.0, 0.0]], [[0.8, 0.8]])
    seen: list[np.ndarray] = [np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])]
    found = []
    for operators in (seen, [*seen, np.array([[0.6, 0.8]])]):
        loss = observation_loss(data, operators, 0.1)
        student = train_generator(loss, start, steps=300).student
        assert loss.value(student) <= 1e-8
        found.append((student.factors[0] @ student.factors[0].T)[0, 1])
    assert abs(found[0]) <= 1e-12
    assert found[1] == pytest.approx(0.3, abs=1e-3)


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


# ---------------------------------------------------------------- a penalty on the estimates of a solver

STUDENTS = {1: (three_peaks(), feature_student(1, units=5)), 2: (rotated_product(2), feature_student(2, units=5))}


def drawn_pairs(problem: Any, n: int = 64) -> Pairs:
    return Pairs(problem.sample(n, 0), np.random.default_rng(0).standard_normal((n, problem.dim)), np.full(n, 1.0 / n))


@pytest.mark.parametrize("dim", [1, 2])
def test_the_gradient_of_the_penalised_loss_is_its_derivative_through_all_stages(dim: int) -> None:
    problem, student = STUDENTS[dim]
    pairs, theta = drawn_pairs(problem), np.asarray(student.coefficients)
    loss = regularised_flow(SCHEDULE, [0.5, 0.9], strength=1e7, step=0.3)
    found, numeric = loss.terms(student, pairs), np.empty_like(theta)
    assert loss.strength * found.error > 0.1 * found.fit  # the penalty counts
    for i in np.ndindex(theta.shape):
        e = np.zeros_like(theta)
        e[i] = 1e-4
        f = [loss.terms(student.replace(theta + k * e), pairs).value for k in (1, -1, 2, -2)]
        numeric[i] = (8.0 * (f[0] - f[1]) - (f[2] - f[3])) / (12.0 * 1e-4)
    assert np.abs(found.gradient - numeric).max() <= 1e-6 * np.abs(numeric).max()


def test_the_penalty_is_the_profile_of_the_flow_where_the_student_is_the_flow() -> None:
    """An affine velocity of constant coefficients is learnt exactly: its estimate is that along the exact flow."""
    student = FeatureStudent(np.zeros((1, 4)), np.array([[0.0], [-2.0], [0.5]]))
    pairs = drawn_pairs(three_peaks())
    loss = regularised_flow(SCHEDULE, [0.6], strength=1.0, step=0.3)
    x = pairs.at(SCHEDULE, 0.6)
    solver = RK45(lambda _, y: -2.0 * y + 0.5, 0.6, x[:, 0], 0.0, first_step=0.3, max_step=0.3, rtol=1e9, atol=1e9)
    solver.step()
    assert solver.t == pytest.approx(0.3)
    expected = np.sqrt(np.mean((solver.K.T @ solver.E * 0.3) ** 2))
    assert loss.terms(student, pairs).error == pytest.approx(float(expected), rel=1e-10)


def test_without_a_penalty_it_is_flow_matching_and_with_one_steps_are_easier_and_the_fit_is_not() -> None:
    problem, network = three_peaks(), feature_student(units=8)
    pairs, found = drawn_pairs(problem, 1000), []
    for strength in (0.0, 1e5):
        loss = regularised_flow(SCHEDULE, [0.3, 0.5, 0.7, 0.9], strength=strength, step=0.25)
        trained = train_student(loss, network, problem, steps=200, batch=64).student
        found.append(regularised_flow(SCHEDULE, [0.3, 0.5, 0.7, 0.9], strength=1.0, step=0.25).terms(trained, pairs))
    assert found[1].error < 0.7 * found[0].error
    assert found[1].fit > found[0].fit


# ---------------------------------------------------------------- refusals


TWO = Generator(np.zeros((2, 2)), np.ones((2, 2)))


def test_bad_input_is_refused() -> None:
    checks: list[tuple[Any, str]] = [
        (lambda: semi_discrete([0.0, 0.0]), "twice: use different points"),
        (lambda: semi_discrete([0.0, 1.0], [1.0, 0.0]), "1 of them zero"),
        (lambda: semi_discrete([0.0, 1.0], source="laplace"), "source='laplace' is not known"),
        (lambda: preference_loss(gaussian_example(3), slope=1.0), "reference has dimension 3"),
        (lambda: preference_loss(Gaussian([0.0], 1.0), slope=1.0, temperature=0.0), "temperature=0.0"),
        (lambda: preference_loss(Gaussian([0.0], 1.0), slope=1.0, curvature=-2.0), "tilts the reference to no density"),
        (lambda: wiener_gain([1.0, 0.0], SCHEDULE, 0.5), "spectrum has 0.0"),
        (lambda: band_error([1.0, 2.0], SCHEDULE, 0.5, [True]), "use one entry a frequency"),
        (lambda: observation_loss(gaussian_example(2), [np.eye(2)], 0.0), "noise=0.0"),
        (
            lambda: observation_loss(gaussian_example(2), [np.eye(2)], 0.1).value(
                Generator(np.zeros((2, 2)), np.ones((2, 2)))
            ),
            "student has 2 components",
        ),
        (lambda: transport_loss([[0.0, 1.0], [0.0, 1.0]]), r"points has \[0.0, 1.0\] twice: use different points"),
        (lambda: transport_loss([0.0, 1.0], [1.0]), "weights has 1 entries"),
        (lambda: normal_points(0, 2), "n=0 and dim=2"),
        (lambda: filter_responses((8, 6), 1), r"shape=\(8, 6\) and radius=1: use equal sides"),
        (lambda: filter_responses((4,), 2), "a filter that fits"),
        (lambda: spectral_distillation([1.0, 0.5], SCHEDULE, [0.5], np.ones((1, 3))), "use 2 columns"),
        (lambda: spectral_distillation([1.0, 0.5], SCHEDULE, [1.5], np.ones((1, 2))), r"^times\[0\] = 1.5 is outside"),
        (lambda: generated_spectrum([1.0], SCHEDULE, [0.0, 1.0], [[0.5]]), "use at least two, decreasing"),
        (lambda: generated_spectrum([1.0], SCHEDULE, [1.0, 0.0], [[0.5], [0.5]]), r"use a row a step .*\(1, 1\)"),
        (lambda: regularised_flow(SCHEDULE, [0.5], strength=-1.0), "strength=-1.0 and step=0.1: use a factor >= 0"),
        (lambda: regularised_flow(SCHEDULE, [0.05], strength=1.0), "ends below 0.0: use later times or a shorter step"),
        (lambda: undetermined([np.eye(2), np.eye(3)]), r"2 matrices of \[2, 3\] columns"),
        (lambda: difficulty_profile(flow_map(three_peaks(), SCHEDULE), np.zeros((1, 1)), [0.5], 0.1), "not monotone"),
        (lambda: difficulty_profile(flow_map(three_peaks(), SCHEDULE), np.zeros((1, 1)), [0.5, 0.4], 0.0), "step=0.0"),
    ]
    for call, said in checks:
        with pytest.raises(ValueError, match=said):
            call()
