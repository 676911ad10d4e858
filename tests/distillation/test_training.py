"""Toy students: they come to where theory says, and fail where and how it says."""

from __future__ import annotations

import numpy as np
import pytest

from diffnum import Gaussian, GaussianMixture
from diffnum.distillation import (
    Generator,
    affine_optimum,
    consistency_distillation,
    exact_batch,
    f_divergence,
    feature_student,
    flow_map,
    gaussian_kernel_loss,
    mean_flow,
    normal_points,
    polynomial_kernel_loss,
    progressive_distillation,
    resting_point,
    score_distillation,
    shortcut,
    train_generator,
    train_student,
    wasserstein,
)
from diffnum.distillation.quadrature import normal_nodes
from diffnum.problems import Mixture1D, rotated_product, three_peaks
from diffnum.schedules import FlowMatching

SCHEDULE = FlowMatching()
APART = Mixture1D(np.array([0.6, 0.4]), np.array([-2.0, 2.0]), np.array([0.09, 0.09]))
START = Generator([[-0.6]], [[0.8]])


def test_reverse_kl_drops_a_mode_and_forward_kl_covers_both() -> None:
    times = [0.05, 0.2]
    reverse = train_generator(f_divergence("reverse-kl", APART, SCHEDULE, times), START, steps=150).student
    forward = train_generator(f_divergence("forward-kl", APART, SCHEDULE, times), START, steps=300).student
    assert reverse.means[0, 0] == pytest.approx(-2.0, abs=0.02)
    assert abs(reverse.factors[0, 0, 0]) == pytest.approx(0.3, abs=0.03)
    best = affine_optimum(APART, "forward-kl")
    assert forward.means[0, 0] == pytest.approx(best.means[0, 0], abs=1e-2)
    assert abs(forward.factors[0, 0, 0]) == pytest.approx(best.factors[0, 0, 0], abs=1e-2)


def test_two_components_hold_both_modes_under_reverse_kl() -> None:
    start = Generator([[-0.6], [0.6]], [[0.8], [0.8]], [0.6, 0.4])
    loss = f_divergence("reverse-kl", APART, SCHEDULE, [0.05, 0.3, 0.7])
    trained = train_generator(loss, start, steps=200).student
    assert trained.means[:, 0] == pytest.approx([-2.0, 2.0], abs=1e-2)
    assert loss.value(trained) <= 1e-4


def test_score_distillation_ends_without_variance_and_degree_one_leaves_it_alone() -> None:
    data = Gaussian([0.5], 0.36)
    collapsed = train_generator(
        score_distillation(data, SCHEDULE, [0.3, 0.6], weighting="kl"), START, steps=400
    ).student
    assert abs(collapsed.factors[0, 0, 0]) <= 1e-3
    blind = train_generator(polynomial_kernel_loss(data), START).student
    assert blind.means[0, 0] == pytest.approx(0.5, abs=1e-3)
    assert blind.factors[0, 0, 0] == START.factors[0, 0, 0]
    seeing = train_generator(gaussian_kernel_loss(data), START, steps=200).student
    assert abs(seeing.factors[0, 0, 0]) == pytest.approx(0.6, abs=1e-2)


def test_a_generator_of_the_plane_reaches_a_gaussian_of_the_plane() -> None:
    data = Gaussian([0.4, -0.2], [[0.5, 0.2], [0.2, 0.3]])
    start = Generator([[0.0, 0.0]], [[0.8, 0.8]])
    found = train_generator(f_divergence("jensen-shannon", data, SCHEDULE, [0.4]), start, steps=250).student
    law = found.noisy(1.0, 0.0)
    assert law.means[0] == pytest.approx(data.mean, abs=1e-3)
    assert law.covariances[0] == pytest.approx(data.covariance_matrix, abs=1e-3)


def test_best_affine_maps_are_those_of_moments_and_of_quantiles() -> None:
    problem = three_peaks()
    z, p = normal_nodes(0.05)
    distances = {}
    for by in ("forward-kl", "wasserstein"):
        best = affine_optimum(problem, by)
        distances[by] = wasserstein(problem, best.means[0, 0] + best.factors[0, 0, 0] * z, p)
    assert distances["wasserstein"] < distances["forward-kl"]
    for wrong in (0.98, 1.02):
        worse = wasserstein(problem, best.means[0, 0] + wrong * best.factors[0, 0, 0] * z, p)
        assert worse > distances["wasserstein"]
    plane = rotated_product(2)
    law = affine_optimum(plane, "forward-kl").noisy(1.0, 0.0)
    drawn = plane.sample(200_000, 0)
    assert law.covariances[0] == pytest.approx(np.cov(drawn.T), abs=0.01)


def test_distance_to_a_gaussian_has_its_closed_form() -> None:
    z, p = normal_nodes(0.05)
    found = wasserstein(Gaussian([0.5], 0.49), 0.1 + 1.3 * z, p)
    assert found == pytest.approx(np.hypot(0.4, 0.6), rel=1e-3)


def test_so_it_has_in_the_plane_and_the_exact_map_has_none() -> None:
    z = normal_points(1000, 2)
    factor, covariance = np.array([[0.8, 0.0], [0.1, 0.6]]), np.array([[0.5, 0.2], [0.2, 0.3]])
    found = wasserstein(Gaussian([0.4, -0.2], covariance), z @ factor.T + 0.1)
    root = np.linalg.cholesky(covariance)
    overlap = np.linalg.svd(root.T @ factor, compute_uv=False).sum()  # the trace of the root of a product
    closed = np.sqrt(0.3**2 + 0.3**2 + np.trace(covariance) + np.sum(factor**2) - 2.0 * overlap)
    assert found == pytest.approx(closed, rel=0.01)
    plane = rotated_product(2)
    assert wasserstein(plane, flow_map(plane, SCHEDULE).consistency(z, 1.0)) <= 1e-12
    assert wasserstein(plane, plane.sample(1000, 0)) < 0.5 * wasserstein(plane, z)


LEVELS = [(1.0 - 1e-9, 0.0), (0.9, 0.0), (0.7, 0.0), (0.5, 0.0), (0.3, 0.0), (0.15, 0.0)]


@pytest.mark.parametrize("name", ["mean flow", "consistency", "progressive", "shortcut"])
def test_students_trained_on_draws_come_near_the_resting_point_of_their_loss(name: str) -> None:
    problem = three_peaks()
    flow = flow_map(problem, SCHEDULE)
    loss = {
        "mean flow": lambda: mean_flow(SCHEDULE, LEVELS[1:]),
        "consistency": lambda: consistency_distillation(flow, [(0.9, 0.7), (0.7, 0.5), (0.5, 0.3), (0.3, 0.0)]),
        "progressive": lambda: progressive_distillation(problem.denoiser(SCHEDULE), [(0.9, 0.4)]),
        "shortcut": lambda: shortcut(SCHEDULE, [(0.8, 0.4), (0.4, 0.0)], [0.2, 0.5, 0.8]),
    }[name]()
    student = feature_student(units=6, seed=2)
    trained = train_student(loss, student, problem, seed=1).student
    pairs = exact_batch(problem, spacing=0.5)
    rest = loss.terms(resting_point(loss, student, pairs), pairs)
    # In the outputs: the value of a loss whose targets move with the student need not fall while it is trained.
    start, end = (loss.terms(s, pairs).outputs - rest.outputs for s in (student, trained))
    assert rest.weights @ end[:, 0] ** 2 < 0.1 * (rest.weights @ start[:, 0] ** 2)


def test_the_value_of_a_loss_with_moving_targets_is_no_measure_of_progress() -> None:
    """At its resting point MeanFlow has a larger value here than at the drawn start."""
    loss, student = mean_flow(SCHEDULE, LEVELS[1:]), feature_student(units=6, seed=2)
    pairs = exact_batch(three_peaks(), spacing=0.5)
    assert loss.terms(resting_point(loss, student, pairs), pairs).value > loss.terms(student, pairs).value


def test_a_network_of_the_plane_generates_in_one_step_better_than_any_affine_map() -> None:
    """Against the exact flow, and the least-squares affine map, which no training could pass with an affine student."""
    problem = rotated_product(2)
    z = np.random.default_rng(9).standard_normal((4000, 2))
    exact = flow_map(problem, SCHEDULE).consistency(z, 1.0)
    columns = np.column_stack([z, np.ones(len(z))])
    affine = columns @ np.linalg.lstsq(columns, exact, rcond=None)[0]
    loss = mean_flow(SCHEDULE, [(t, 0.0) for t in np.linspace(1.0, 0.125, 8)])
    student = train_student(loss, feature_student(2, units=40), problem, steps=600, seed=1).student
    made = z - student(z, 1.0, 0.0)
    gaps = [np.sqrt(np.mean(np.sum((y - exact) ** 2, axis=1))) for y in (made, affine)]
    assert gaps[0] < 0.9 * gaps[1]


def test_the_same_seed_gives_the_same_curve() -> None:
    loss, student = mean_flow(SCHEDULE, [(0.9, 0.2)]), feature_student(units=3)
    runs = [train_student(loss, student, three_peaks(), steps=20, seed=s).curve for s in (3, 3, 4)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


# ---------------------------------------------------------------- what goes wrong is said


def test_a_diverging_training_is_stopped_with_its_step() -> None:
    loss = f_divergence("forward-kl", APART, SCHEDULE, [0.1])
    with pytest.raises(FloatingPointError, match=r"the training diverged at step \d+ of 300"):
        train_generator(loss, START, rate=1e4)

    class Exploding:
        def terms(self, student: object, pairs: object) -> object:
            found = mean_flow(SCHEDULE, [(0.9, 0.2)]).terms(student, pairs)  # type: ignore[arg-type]
            return found._replace(outputs=found.outputs * np.inf)

    with pytest.raises(FloatingPointError, match="diverged at step 0 of 10"):
        train_student(Exploding(), feature_student(units=3), three_peaks(), steps=10)  # type: ignore[arg-type]


def test_bad_input_is_refused() -> None:
    class Short:
        def gradient(self, student: Generator) -> np.ndarray:
            return student.parameters[:1]

    with pytest.raises(ValueError, match=r"the gradient has shape \(1,\), the parameters \(2,\)"):
        train_generator(Short(), START)
    with pytest.raises(ValueError, match=r"steps=0 and rate=0.05"):
        train_generator(gaussian_kernel_loss(APART), START, steps=0)
    with pytest.raises(ValueError, match="by='reverse-kl' has no closed form here"):
        affine_optimum(APART, "reverse-kl")
    with pytest.raises(TypeError, match="no flow map in closed form: use one of Gaussian in any dimension"):
        wasserstein(GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 0.0]], [1.0, 1.0]), np.zeros((3, 2)))
