"""Gaussian mixtures: exact predictions, densities, samples, flows, and what they refuse."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum.problems import Gaussian, GaussianMixture, Mixture1D, _components
from diffnum.schedules import EDM, FlowMatching, MeanReverting, VPLinear
from diffnum.types import Denoiser, Problem
from tests.optional import optional

from .cases import (
    KINDS,
    PREDICTIONS,
    SCHEDULES,
    close,
    fractions,
    inner_time,
    kinds,
    make_mixture,
    matrices,
    predictions,
    schedules,
    seeds,
    states,
)

torch = optional("torch")

quick = settings(max_examples=40, deadline=None)


def test_mixture_and_its_model_satisfy_the_protocols():
    mixture = make_mixture(0, "full")
    assert isinstance(mixture, Problem)
    model = mixture.denoiser(VPLinear(), prediction="noise")
    assert isinstance(model, Denoiser)
    assert (model.prediction, model.schedule) == ("noise", VPLinear())


@quick
@given(seeds, kinds, schedules, fractions, st.booleans())
def test_score_is_the_gradient_of_the_log_density_of_the_marginal(seed, kind, schedule, fraction, direct):
    mixture, t = make_mixture(seed, kind, direct=direct), inner_time(schedule, fraction)
    x = torch.tensor(states(mixture, schedule, t), requires_grad=True)
    (gradient,) = torch.autograd.grad(mixture.at(schedule, t).log_prob(x).sum(), x)
    score = mixture.denoiser(schedule, "score")(x.detach(), t)
    close(score, gradient, 1e-10)


def test_log_density_is_that_of_an_independent_formula():
    for kind in KINDS:
        mixture = make_mixture(1, kind)
        x = mixture.sample(6, seed=2)
        density = np.zeros(6)
        for weight, mean, covariance in zip(mixture.weights, mixture.means, matrices(mixture), strict=True):
            precision, residual = np.linalg.inv(covariance), x - mean
            exponent = -0.5 * np.einsum("ni,ij,nj->n", residual, precision, residual)
            density += weight * np.sqrt(np.linalg.det(precision) / (2 * np.pi) ** 3) * np.exp(exponent)
        close(mixture.log_prob(x), np.log(density), 1e-13)
        assert abs(mixture.log_prob(x + 0.01) - np.log(density)).max() > 1e-4  # the comparison can fail


@quick
@given(seeds, kinds, schedules, fractions, fractions, st.booleans())
def test_all_predictions_are_forms_of_one_data_and_one_noise(seed, kind, schedule, first, last, direct):
    mixture = make_mixture(seed, kind, direct=direct)
    t = np.linspace(inner_time(schedule, first), inner_time(schedule, last), 5)
    x = states(mixture, schedule, t)
    alpha, sigma = (np.broadcast_to(f(t), (5,))[:, None] for f in (schedule.alpha, schedule.sigma))
    data, noise, velocity, score, v = (mixture.denoiser(schedule, p)(x, t) for p in PREDICTIONS)
    close(alpha * data + (1 - alpha) * schedule.mean + sigma * noise, x, 1e-13)
    close(velocity, noise - data, 1e-12)
    close(sigma * score, -noise, 1e-12)
    close(v, alpha * noise - sigma * data, 1e-12)


@quick
@given(seeds, kinds, predictions, schedules, fractions)
def test_rotating_the_mixture_rotates_the_prediction(seed, kind, prediction, schedule, fraction):
    if np.any(schedule.mean):
        schedule = MeanReverting()
    mixture, t = make_mixture(seed, kind), inner_time(schedule, fraction)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    rotated = rotation @ matrices(mixture) @ rotation.T
    rotated = GaussianMixture(mixture.weights, mixture.means @ rotation.T, 0.5 * (rotated + np.swapaxes(rotated, 1, 2)))
    x = states(mixture, schedule, t)
    expected = mixture.denoiser(schedule, prediction)(x, t) @ rotation.T
    close(rotated.denoiser(schedule, prediction)(x @ rotation.T, t), expected, 1e-11)


@quick
@given(seeds, kinds, predictions, st.booleans())
def test_order_of_components_does_not_matter(seed, kind, prediction, direct):
    mixture, schedule = make_mixture(seed, kind, direct=direct), VPLinear()
    order = np.random.default_rng(seed).permutation(4)
    other = GaussianMixture(mixture.weights[order], mixture.means[order], mixture.covariances[order], direct=direct)
    x = states(mixture, schedule, 0.4)
    close(other.denoiser(schedule, prediction)(x, 0.4), mixture.denoiser(schedule, prediction)(x, 0.4), 1e-13)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_both_ends_of_every_schedule_are_finite_and_silent(name, kind, direct):
    schedule, mixture = SCHEDULES[name], make_mixture(3, kind, direct=direct)
    for t in (schedule.t_min, schedule.t_max):
        x = states(mixture, schedule, t)
        for prediction in PREDICTIONS:
            model = mixture.denoiser(schedule, prediction)
            for array in (x, torch.tensor(x), torch.tensor(x, dtype=torch.float32), x.astype(np.float32)):
                answer = model(array, t)
                assert bool((abs(answer) < np.inf).all())
                assert (answer.dtype, answer.shape) == (array.dtype, array.shape)
                times = np.full(len(x), t)
                per_sample = times if isinstance(array, np.ndarray) else torch.tensor(times)
                close(model(array, per_sample), answer, 1e-5 if "32" in str(array.dtype) else 1e-12)
                assert bool((abs(model.jvp(array, t, array)) < np.inf).all())


def test_without_noise_the_data_prediction_is_the_state_and_the_noise_prediction_is_zero():
    schedule = FlowMatching()
    for kind in KINDS:
        mixture = make_mixture(4, kind)
        x = mixture.sample(5, seed=0)
        close(mixture.denoiser(schedule, "data")(x, 0.0), x, 1e-14)
        close(mixture.denoiser(schedule, "noise")(x, 0.0), 0 * x, 0.0)


def test_without_signal_the_data_prediction_is_the_mean_and_the_noise_prediction_is_the_state():
    mixture, schedule = make_mixture(5, "full"), FlowMatching()
    x = np.random.default_rng(0).standard_normal((5, 3))
    close(mixture.denoiser(schedule, "data")(x, 1.0), np.tile(mixture.weights @ mixture.means, (5, 1)), 1e-14)
    close(mixture.denoiser(schedule, "noise")(x, 1.0), x, 1e-14)


def precise_noise(mixture: GaussianMixture, x: float, alpha: float, sigma: float) -> float:
    """Noise prediction on the line with 60 digits."""
    with mpmath.workdps(60):
        densities, noises = [], []
        for weight, mean, variance in zip(mixture.weights, mixture.means[:, 0], mixture.covariances, strict=True):
            total = mpmath.mpf(alpha) ** 2 * mpmath.mpf(variance) + mpmath.mpf(sigma) ** 2
            residual = mpmath.mpf(x) - mpmath.mpf(alpha) * mpmath.mpf(mean)
            densities.append(mpmath.mpf(weight) * mpmath.exp(-(residual**2) / total / 2) / mpmath.sqrt(total))
            noises.append(mpmath.mpf(sigma) * residual / total)
        return float(mpmath.fdot(densities, noises) / mpmath.fsum(densities))


def test_noise_at_tiny_sigma_keeps_its_digits_where_a_difference_would_lose_them():
    mixture, schedule = make_mixture(6, "isotropic", dim=1), EDM()
    for sigma in (1e-8, 1e-4, 1e-1, 80.0):
        x = states(mixture, schedule, sigma, n=8)
        noise = mixture.denoiser(schedule, "noise")(x, sigma)[:, 0]
        truth = np.array([precise_noise(mixture, float(value), 1.0, sigma) for value in x[:, 0]])
        assert np.max(np.abs(noise / truth - 1)) < 1e-12
    sigma = 1e-8
    by_difference = (x - mixture.denoiser(schedule, "data")(x, sigma))[:, 0] / sigma
    truth = np.array([precise_noise(mixture, float(value), 1.0, sigma) for value in x[:, 0]])
    assert np.max(np.abs(by_difference / truth - 1)) > 1e-3  # negative control


@quick
@given(seeds, kinds, predictions, schedules, fractions, st.booleans())
def test_numpy_and_torch_agree(seed, kind, prediction, schedule, fraction, direct):
    mixture, t = make_mixture(seed, kind, direct=direct), inner_time(schedule, fraction)
    x, model = states(mixture, schedule, t), mixture.denoiser(schedule, prediction)
    expected = model(x, t)
    close(model(torch.tensor(x), t), expected, 1e-12)
    close(model(torch.tensor(x), torch.tensor(t, dtype=torch.float64)), expected, 1e-12)
    close(model(torch.tensor(x, dtype=torch.float32), t), expected, 1e-4)
    close(model(x.astype(np.float32), t), expected, 1e-4)


@pytest.mark.parametrize("kind", ["isotropic", "diagonal"])
@pytest.mark.parametrize(("count", "dim"), [(300, 16), (20, 300)])
def test_multiplied_out_squares_agree_with_differences_in_both_precisions(kind, count, dim):
    exact, fast = (make_mixture(7, kind, count, dim, direct=direct) for direct in (True, False))
    schedule = VPLinear()
    for t in (1e-3, 0.2, 1.0):
        x = states(exact, schedule, t)
        single = x.astype(np.float32)
        for prediction in PREDICTIONS:
            expected = exact.denoiser(schedule, prediction)(x, t)
            close(fast.denoiser(schedule, prediction)(x, t), expected, 1e-11)
            of_single = exact.denoiser(schedule, prediction)(single.astype(np.float64), t)
            close(fast.denoiser(schedule, prediction)(single, t), of_single, 2e-5)
        close(fast.log_prob(x), exact.log_prob(x), 1e-12)


def test_means_far_from_zero_are_centred_before_squares_are_multiplied_out():
    rng = np.random.default_rng(0)
    means = 1e4 + rng.standard_normal((50, 64))
    weights, variances = np.full(50, 0.02), np.full(50, 0.01)
    exact, fast = (GaussianMixture(weights, means, variances, direct=direct) for direct in (True, False))
    x, t = states(exact, EDM(), 0.5), 0.5
    close(fast.responsibilities(x, EDM(), t), exact.responsibilities(x, EDM(), t), 1e-9)
    close(fast.denoiser(EDM(), "noise")(x, t), exact.denoiser(EDM(), "noise")(x, t), 1e-9)


@quick
@given(seeds, kinds, predictions, schedules, fractions, st.booleans(), st.booleans())
def test_jacobian_vector_product_is_that_of_automatic_differentiation(
    seed, kind, prediction, schedule, fraction, direct, per_sample
):
    mixture, t = make_mixture(seed, kind, direct=direct), inner_time(schedule, fraction)
    model, x = mixture.denoiser(schedule, prediction), torch.tensor(states(mixture, schedule, t))
    u = torch.tensor(np.random.default_rng(seed).standard_normal(x.shape))
    times = torch.full((len(x),), t, dtype=torch.float64) if per_sample else t
    _, expected = torch.func.jvp(lambda z: model(z, times), (x,), (u,))
    close(model.jvp(x, times, u), expected, 1e-10)
    step = 1e-5 * max(1.0, float(schedule.sigma(t)))
    above, below = (model(x.numpy() + sign * step * u.numpy(), t) for sign in (1, -1))
    close(model.jvp(x.numpy(), t, u.numpy()), (above - below) / (2 * step), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_sample_moments_are_those_of_the_mixture(kind):
    mixture = make_mixture(8, kind)
    points = mixture.sample(200_000, seed=3)
    mean = mixture.weights @ mixture.means
    outer = mixture.means[:, :, None] * mixture.means[:, None, :]
    second = np.einsum("k,kij->ij", mixture.weights, matrices(mixture) + outer)
    assert np.max(np.abs(points.mean(0) - mean)) < 5 * np.sqrt(np.max(second) / 200_000)
    assert np.max(np.abs(points.T @ points / 200_000 - second)) < 0.06
    assert np.array_equal(points[:5], mixture.sample(200_000, seed=3)[:5])
    assert not np.array_equal(points[:5], mixture.sample(200_000, seed=4)[:5])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["vp-linear", "edm", "flow", "mean-reverting"])
def test_flow_composes_and_inverts(name, kind):
    schedule, mixture = SCHEDULES[name], make_mixture(9, kind)
    start, middle, end = schedule.t_max, 0.3 * schedule.t_max, 1e-3
    x = states(mixture, schedule, start)
    there = mixture.flow(x, schedule, start, end)
    close(mixture.flow(mixture.flow(x, schedule, start, middle), schedule, middle, end), there, 2e-12)
    close(mixture.flow(there, schedule, end, start), x, 2e-12)
    assert np.max(np.abs(mixture.flow(x, schedule, start, 0.5 * start) - there)) > 1e-3  # ends matter


def test_flow_of_one_component_is_the_closed_form():
    mixture = make_mixture(10, "full", count=1)
    gaussian = Gaussian(mixture.means[0], mixture.covariances[0])
    for schedule in SCHEDULES.values():
        x = states(mixture, schedule, schedule.t_max)
        expected = gaussian.flow(x, schedule, schedule.t_max, schedule.t_min)
        close(mixture.flow(x, schedule, schedule.t_max, schedule.t_min), expected, 5e-13)


def test_flow_on_the_line_is_cdf_matching():
    for seed in range(3):
        mixture = make_mixture(seed, "isotropic", dim=1)
        line = Mixture1D(mixture.weights, mixture.means[:, 0], mixture.covariances)
        for schedule in SCHEDULES.values():
            x = states(mixture, schedule, schedule.t_max)
            expected = line.flow(x, schedule, schedule.t_max, 1e-3)
            close(mixture.flow(x, schedule, schedule.t_max, 1e-3), expected, 1e-12)


def test_flow_keeps_namespace_dtype_and_shape():
    mixture, schedule = make_mixture(11, "diagonal", dim=12), VPLinear()
    x = states(mixture, schedule, 1.0)
    expected = mixture.flow(x, schedule, 1.0, 0.1)
    image = torch.tensor(x, dtype=torch.float32).reshape(5, 3, 2, 2)
    answer = mixture.flow(image, schedule, 1.0, 0.1)
    assert (answer.dtype, answer.shape) == (torch.float32, image.shape)
    close(answer.reshape(5, 12), expected, 1e-5)


def test_images_and_vectors_get_the_same_answer():
    mixture, schedule = make_mixture(12, "isotropic", dim=12), VPLinear()
    x = states(mixture, schedule, 0.5)
    for prediction in PREDICTIONS:
        model = mixture.denoiser(schedule, prediction)
        assert np.array_equal(model(x.reshape(5, 3, 2, 2), 0.5).reshape(5, 12), model(x, 0.5))
        assert model.jvp(x.reshape(5, 3, 4), 0.5, x.reshape(5, 3, 4)).shape == (5, 3, 4)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_bounded_blocks_do_not_change_the_answer(kind, direct, monkeypatch):
    mixture, schedule = make_mixture(13, kind, count=7, direct=direct), VPLinear()
    for t in (0.5, np.linspace(0.1, 0.9, 11)):
        x = states(mixture, schedule, t, n=11)
        model = mixture.denoiser(schedule, "v")
        monkeypatch.setattr(_components, "BLOCK", 1 << 22)
        whole, derivative, density = model(x, t), model.jvp(x, t, x[::-1]), mixture.log_prob(x)
        monkeypatch.setattr(_components, "BLOCK", 9)
        close(model(x, t), whole, 1e-14)
        close(model.jvp(x, t, x[::-1]), derivative, 1e-13)
        close(mixture.log_prob(x), density, 1e-13)


@pytest.mark.parametrize(("count", "dim"), [(10_000, 16), (50, 4096)])
def test_large_mixtures_are_finite_in_single_precision(count, dim):
    mixture = make_mixture(14, "isotropic", count, dim)
    x = torch.tensor(states(mixture, VPLinear(), 0.5), dtype=torch.float32)
    assert bool(torch.isfinite(mixture.denoiser(VPLinear(), "noise")(x, 0.5)).all())


def test_responsibilities_are_probabilities_and_find_the_component():
    mixture = GaussianMixture(np.array([0.5, 0.5]), np.array([[-5.0], [5.0]]), np.array([0.1, 0.1]))
    found = mixture.responsibilities(np.array([[-4.0], [0.0], [4.0]]), VPLinear(), 0.01)
    close(found.sum(axis=1), np.ones(3), 1e-15)
    close(found, [[1, 0], [0.5, 0.5], [0, 1]], 1e-6)


def test_classes_make_up_the_whole_by_total_probability():
    mixture = make_mixture(15, "full", labels=[0, 1, 1, 0])
    x = mixture.sample(6, seed=0)
    parts = [mixture.conditional(label) for label in (0, 1)]
    prior = [mixture.weights[[0, 3]].sum(), mixture.weights[[1, 2]].sum()]
    total = sum(p * np.exp(part.log_prob(x)) for p, part in zip(prior, parts, strict=True))
    close(np.log(total), mixture.log_prob(x), 1e-13)
    assert np.array_equal(mixture.at(VPLinear(), 0.5).labels, mixture.labels)


def test_a_component_of_weight_zero_changes_nothing():
    mixture, schedule = make_mixture(16, "isotropic"), VPLinear()
    more = GaussianMixture(
        np.append(mixture.weights, 0.0),
        np.vstack([mixture.means, np.zeros((1, 3))]),
        np.append(mixture.covariances, 1.0),
    )
    x = states(mixture, schedule, 0.5)
    close(more.denoiser(schedule)(x, 0.5), mixture.denoiser(schedule)(x, 0.5), 1e-14)
    close(more.denoiser(schedule).jvp(x, 0.5, x), mixture.denoiser(schedule).jvp(x, 0.5, x), 1e-14)


def test_mean_reverting_process_is_the_reverting_to_zero_one_of_shifted_data():
    mixture, mean = make_mixture(17, "full"), np.array([0.5, -1.0, 2.0])
    shifted = GaussianMixture(mixture.weights, mixture.means - mean, mixture.covariances)
    here, there = MeanReverting(mean=mean), MeanReverting()
    x = states(mixture, here, 1.0)
    noise = shifted.denoiser(there, "noise")(x - mean, 1.0)
    close(mixture.denoiser(here, "noise")(x, 1.0), noise, 1e-12)
    close(mixture.denoiser(here, "noise")(torch.tensor(x), torch.ones(5)), noise, 1e-12)
    close(mixture.denoiser(here, "data")(x, 1.0), shifted.denoiser(there)(x - mean, 1.0) + mean, 1e-12)
    close(mixture.flow(x, here, 1.0, 0.1), shifted.flow(x - mean, there, 1.0, 0.1) + mean, 1e-12)
    close(mixture.at(here, 1.0).means, shifted.at(there, 1.0).means + mean, 1e-14)


def test_pickle_and_copy_keep_the_model_and_drop_the_cache():
    model = make_mixture(18, "full").denoiser(VPLinear(), "v")
    x = torch.zeros(2, 3, dtype=torch.float64)
    expected = model(x, 0.5)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert twin.core._cache == {}
        assert torch.equal(twin(x, 0.5), expected)
    assert model.core._cache


def test_parameters_are_converted_once_and_cannot_be_changed():
    mixture = make_mixture(19, "isotropic")
    x = torch.zeros(2, 3)
    mixture.denoiser(VPLinear())(x, 0.5)
    first = mixture.core.local(x)
    mixture.denoiser(VPLinear())(x + 1, 0.2)
    assert mixture.core.local(x) is first
    with pytest.raises(ValueError, match="read-only"):
        mixture.means[0, 0] = 1.0


def test_a_model_first_used_in_inference_mode_can_be_differentiated_later():
    model = make_mixture(20, "isotropic", direct=False).denoiser(VPLinear())
    x = torch.zeros(2, 3, dtype=torch.float64)
    with torch.inference_mode():
        model(x, 0.5)
    x.requires_grad_(True)
    model(x, 0.5).sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_half_precision_states_are_answered_in_half_precision():
    model = make_mixture(21, "diagonal").denoiser(VPLinear(), "v")
    x = torch.linspace(-1, 1, 6).reshape(2, 3)
    for dtype in (torch.float16, torch.bfloat16):
        answer = model(x.to(dtype), 0.5)
        assert answer.dtype == dtype
        close(answer.double(), model(x.to(dtype).double(), 0.5), 1e-2)


def test_import_needs_neither_torch_nor_sympy():
    code = "import sys, diffnum.problems; print({'torch', 'sympy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


EYE = np.eye(2)
BAD_MIXTURES = {
    "weights that sum to 1.1": (([0.5, 0.6], [[0], [1]], [1, 1]), ValueError, r"sum to 1\.1.*divide"),
    "a negative weight": (([1.5, -0.5], [[0], [1]], [1, 1]), ValueError, r"weights\[1\] = -0\.5 is negative"),
    "a mean that is not finite": (
        ([1.0], [[np.nan]], [1]),
        ValueError,
        r"means\[\(0, 0\)\] = nan is not "
        "finite",
    ),
    "counts that differ": (([1.0], [[0], [1]], [1, 1]), ValueError, "weights has 1 entries and means 2 rows"),
    "covariances of wrong shape": (
        ([1.0], [[0, 0]], [[1, 1, 1]]),
        ValueError,
        r"covariances has shape "
        r"\(1, 3\)",
    ),
    "a variance of zero": (
        ([0.5, 0.5], [[0], [1]], [1, 0]),
        ValueError,
        r"covariances\[1\] is not positive definite.*eigenvalue is 0.*FiniteDataset",
    ),
    "a covariance that is not symmetric": (
        ([1.0], [[0, 0]], [[[1, 0.5], [0, 1]]]),
        ValueError,
        r"covariances\[0\] is not symmetric.*0\.5",
    ),
    "a covariance that is not definite": (
        ([0.5, 0.5], [[0, 0], [1, 1]], [EYE, [[1, 2], [2, 1]]]),
        ValueError,
        r"covariances\[1\] is not positive definite: its smallest eigenvalue is -1",
    ),
    "a singular covariance": (([1.0], [[0, 0]], [[[1, 1], [1, 1]]]), ValueError, "not positive definite"),
    "text": ((["a"], [[0]], [1]), TypeError, "weights cannot be read"),
    "no component": (([], [], []), ValueError, "weights is empty"),
    "a flat array of means": (([1.0], [0.0], [1]), ValueError, r"means has shape \(1,\)"),
    "labels of wrong length": (([1.0], [[0]], [1], [0, 1]), ValueError, r"labels has shape \(2,\)"),
    "labels that are not integers": (([1.0], [[0]], [1], [0.5]), TypeError, "labels has dtype float64"),
}


@pytest.mark.parametrize("name", BAD_MIXTURES)
def test_bad_mixtures_are_refused_with_the_reason(name):
    arguments, error, message = BAD_MIXTURES[name]
    with pytest.raises(error, match=message):
        GaussianMixture(*arguments)


X = np.zeros((4, 3))
BAD_CALLS = {
    "integers": ((X.astype(int), 0.5), TypeError, "x has dtype int64"),
    "complex states": ((X.astype(complex), 0.5), TypeError, "x has dtype complex128"),
    "a list": (([[0.0, 0.0, 0.0]], 0.5), TypeError, "x is a list"),
    "a wrong size": ((np.zeros((4, 2)), 0.5), ValueError, r"x has shape \(4, 2\); expected \(batch, 3\)"),
    "one state without a batch": ((np.zeros(3), 0.5), ValueError, r"x has shape \(3,\)"),
    "wrong number of times": ((X, np.full(3, 0.5)), ValueError, r"t has shape \(3,\).*\(4,\)"),
    "times of two axes": ((X, np.full((4, 1), 0.5)), ValueError, r"t has shape \(4, 1\)"),
    "a time that is not finite": ((X, float("nan")), ValueError, "t=nan is not finite"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_states_and_times_are_refused_with_the_reason(name):
    arguments, error, message = BAD_CALLS[name]
    with pytest.raises(error, match=message):
        make_mixture(0, "full").denoiser(VPLinear())(*arguments)


def test_tensors_of_integers_are_refused_with_their_dtype():
    with pytest.raises(TypeError, match=r"x has dtype torch\.int64"):
        make_mixture(0, "full").denoiser(VPLinear())(torch.zeros(4, 3, dtype=torch.int64), 0.5)


def test_other_bad_arguments_are_refused_with_the_reason():
    mixture, schedule = make_mixture(0, "full"), VPLinear()
    with pytest.raises(ValueError, match=r"prediction='epsilon' is not known; choose one of 'data', 'noise'"):
        mixture.denoiser(schedule, "epsilon")
    with pytest.raises(TypeError, match=r"schedule=0\.5 is not a schedule"):
        mixture.denoiser(0.5)
    with pytest.raises(TypeError, match="is not a schedule"):
        mixture.flow(X, None, 1.0, 0.5)
    with pytest.raises(ValueError, match="t_to=inf is not finite"):
        mixture.flow(X, schedule, 1.0, np.inf)
    with pytest.raises(ValueError, match=r"t_from has shape \(2,\)"):
        mixture.flow(X, schedule, np.ones(2), 0.5)
    with pytest.raises(ValueError, match=r"tangent has shape \(2, 3\).*\(4, 3\)"):
        mixture.denoiser(schedule).jvp(X, 0.5, X[:2])
    with pytest.raises(ValueError, match="n=0 draws nothing"):
        mixture.sample(0, seed=0)
    with pytest.raises(TypeError, match=r"n=2\.5 is a float"):
        mixture.sample(2.5, seed=0)
    with pytest.raises(ValueError, match="labels is None"):
        mixture.conditional(0)
    with pytest.raises(ValueError, match=r"label=5 has no component.*\[0, 1\]"):
        make_mixture(0, "full", labels=[0, 1, 1, 0]).conditional(5)
    with pytest.raises(ValueError, match=r"schedule.mean has shape \(2,\)"):
        mixture.denoiser(MeanReverting(mean=np.ones(2)))(X, 0.5)
