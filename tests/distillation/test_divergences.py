"""Losses of one-step students: every gradient is the derivative of its value; what each one forgets."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from diffnum import Gaussian, GaussianMixture
from diffnum.distillation import (
    DIVERGENCES,
    Generator,
    clipped_gradient,
    distribution_matching,
    f_divergence,
    gaussian_kernel_loss,
    polynomial_kernel_loss,
    score_distillation,
)
from diffnum.problems import rotated_product, three_peaks
from diffnum.schedules import EDM, FlowMatching, VPLinear

LINE = three_peaks()
AFFINE = Generator([[0.3]], [[0.8]])
PAIR = Generator([[-0.7], [0.9]], [[0.5], [-0.3]], [0.4, 0.6])
PLANE = rotated_product(2)
TILTED = Generator([[0.1, -0.3], [0.4, 0.5]], [[[0.7, 0.2], [-0.1, 0.5]], [[0.6, 0.0], [0.3, 0.8]]])


def numerical(value: Callable[[Generator], float], student: Generator) -> np.ndarray:
    """Central differences of order 4."""
    theta, step = student.parameters, 1e-3
    out = np.empty_like(theta)
    for i in range(len(theta)):
        e = np.zeros_like(theta)
        e[i] = step
        f = [value(student.replace(theta + k * e)) for k in (1, -1, 2, -2)]
        out[i] = (8.0 * (f[0] - f[1]) - (f[2] - f[3])) / (12.0 * step)
    return out


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
@pytest.mark.parametrize(("problem", "student"), [(LINE, AFFINE), (LINE, PAIR)], ids=["affine", "pair"])
def test_the_gradient_by_scores_is_the_derivative_of_the_divergence(
    name: str, problem: Any, student: Generator
) -> None:
    loss = f_divergence(name, problem, FlowMatching(), [0.3, 0.6], weights=[1.0, 0.5])
    found = loss.gradient(student)
    assert np.abs(found - numerical(loss.value, student)).max() <= 1e-6 * max(1.0, np.abs(found).max())
    assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
def test_divergences_travel_to_other_processes(name: str) -> None:
    loss = f_divergence(name, LINE, FlowMatching(), [0.3])
    assert pickle.loads(pickle.dumps(loss)).value(PAIR) == loss.value(PAIR)


@pytest.mark.parametrize("name", ["reverse-kl", "jensen-shannon"])
def test_so_it_is_in_the_plane(name: str) -> None:
    loss = f_divergence(name, PLANE, FlowMatching(), [0.5])
    found = loss.gradient(TILTED)
    expected = numerical(loss.value, TILTED)
    assert np.abs(found - expected).max() <= 1e-6


def test_a_wrong_weight_is_no_derivative() -> None:
    """The control: the forward KL divergence with the weight of the reverse one."""
    forward, reverse = (f_divergence(n, LINE, FlowMatching(), [0.4]) for n in ("forward-kl", "reverse-kl"))
    assert np.abs(reverse.gradient(PAIR) - numerical(forward.value, PAIR)).max() > 1e-2


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
def test_divergences_vanish_with_their_gradient_where_the_laws_agree(name: str) -> None:
    same = GaussianMixture([0.4, 0.6], [[-0.7], [0.9]], [0.25, 0.09])
    loss = f_divergence(name, same, VPLinear(), [0.2, 0.5])
    assert abs(loss.value(PAIR)) <= 1e-12
    assert np.abs(loss.gradient(PAIR)).max() <= 1e-12
    assert loss.value(AFFINE) > 1e-3


def test_reverse_kl_of_gaussians_has_its_closed_form() -> None:
    loss = f_divergence("reverse-kl", Gaussian([0.5], 0.49), EDM(), [0.8])
    q, p = 0.8**2 + 0.64, 0.49 + 0.64
    expected = 0.5 * (q / p - 1.0 - np.log(q / p) + (0.3 - 0.5) ** 2 / p)
    assert loss.value(AFFINE) == pytest.approx(expected, rel=1e-12)


def test_score_distillation_is_the_gradient_of_the_cross_entropy() -> None:
    for problem, student in ((LINE, PAIR), (PLANE, TILTED)):
        loss = score_distillation(problem, FlowMatching(), [0.4])
        assert np.abs(loss.gradient(student) - numerical(loss.value, student)).max() <= 1e-6


def descend(gradient: Callable[[Generator], np.ndarray], student: Generator, rate: float, steps: int) -> Generator:
    for _ in range(steps):
        student = student.replace(student.parameters - rate * gradient(student))
    return student


def test_variational_distillation_rests_at_the_data_and_sds_collapses_to_the_mode() -> None:
    data = Gaussian([0.5], 0.36)
    times = [0.3, 0.6]
    vsd = descend(f_divergence("reverse-kl", data, FlowMatching(), times).gradient, AFFINE, 0.6, 150)
    sds = descend(score_distillation(data, FlowMatching(), times, weighting="kl").gradient, AFFINE, 0.6, 150)
    assert vsd.means[0, 0] == pytest.approx(0.5, abs=1e-9)
    assert abs(vsd.factors[0, 0, 0]) == pytest.approx(0.6, abs=1e-9)
    assert sds.means[0, 0] == pytest.approx(0.5, abs=1e-9)
    assert abs(sds.factors[0, 0, 0]) <= 1e-9


def test_without_a_limit_the_clipped_gradient_is_the_gradient() -> None:
    loss = score_distillation(LINE, FlowMatching(), [0.5])
    assert np.abs(clipped_gradient(loss, PAIR, np.inf) - loss.gradient(PAIR)).max() <= 1e-11
    kl = f_divergence("reverse-kl", LINE, FlowMatching(), [0.5], weighting="vsd")
    assert np.abs(clipped_gradient(loss, PAIR, np.inf, particles=True) - kl.gradient(PAIR)).max() <= 1e-11


def test_clipping_moves_the_gradient_of_a_skewed_law_but_not_the_rest_of_a_symmetric_one() -> None:
    at_rest = Generator([[0.5]], [[0.0]])
    symmetric = score_distillation(Gaussian([0.5], 0.36), FlowMatching(), [0.5], weighting="kl")
    assert abs(clipped_gradient(symmetric, at_rest, 0.2)[0]) <= 1e-12
    skewed = score_distillation(LINE, FlowMatching(), [0.5], weighting="kl")
    centre = minimize(lambda m: skewed.value(Generator([[m[0]]], [[0.0]])), [0.3], tol=1e-12).x[0]
    resting = Generator([[float(centre)]], [[0.0]])
    assert abs(skewed.gradient(resting)[0]) <= 1e-5
    assert abs(clipped_gradient(skewed, resting, 0.2)[0]) > 1e-3
    # VSD is at rest at the data in both cases: there the clipped difference is zero, draw by draw.
    same = Generator(LINE.means[:, None], np.sqrt(LINE.variances)[:, None], LINE.weights)
    assert np.abs(clipped_gradient(skewed, same, 0.2, particles=True)).max() <= 1e-12


# ---------------------------------------------------------------- distribution matching


def test_distribution_matching_is_the_reverse_kl_with_the_weight_of_moment_matching() -> None:
    for problem, student in ((LINE, PAIR), (PLANE, TILTED)):
        found = distribution_matching(problem, FlowMatching(), [0.3, 0.6]).gradient(student)
        expected = f_divergence("reverse-kl", problem, FlowMatching(), [0.3, 0.6], weighting="moments").gradient(
            student
        )
        assert np.abs(found - expected).max() <= 1e-12


def test_moment_matching_descends_the_difference_of_posterior_means() -> None:
    """Independent road: E[(D_q - D_p) dx/dtheta] by the trapezoid rule over latent and noise, with exact denoisers."""
    from diffnum.distillation.quadrature import normal_nodes

    schedule, t = FlowMatching(), 0.4
    z, p = normal_nodes()
    latent, noise = (a.ravel() for a in np.meshgrid(z, z, indexing="ij"))
    joint = np.outer(p, p).ravel()
    x = ((1 - t) * (0.3 + 0.8 * latent) + t * noise)[:, None]
    student = Gaussian([0.3], 0.64)
    gap = (student.denoiser(schedule)(x, t) - LINE.denoiser(schedule)(x, t))[:, 0]
    expected = np.array([joint @ gap, joint @ (gap * latent)])
    found = f_divergence("reverse-kl", LINE, schedule, [t], weighting="moments").gradient(AFFINE)
    assert np.abs(found - expected).max() <= 1e-12


def test_a_lagging_critic_biases_the_gradient_in_proportion() -> None:
    loss = distribution_matching(LINE, FlowMatching(), [0.5])
    exact = loss.gradient(AFFINE)
    gaps = []
    for lag in (0.1, 0.01):
        old = AFFINE.replace(AFFINE.parameters + lag)
        gaps.append(np.abs(loss.gradient(AFFINE, fake=old) - exact).max())
    assert np.log10(gaps[0] / gaps[1]) == pytest.approx(1.0, abs=0.1)


def test_the_shipped_normaliser_turns_the_gradient_and_keeps_the_resting_point() -> None:
    loss = distribution_matching(PLANE, FlowMatching(), [0.5])
    exact, shipped = loss.gradient(TILTED), loss.as_shipped(TILTED, draws=40_000)
    nearest = exact * (exact @ shipped.mean) / (exact @ exact)
    assert np.abs((shipped.mean - nearest) / shipped.error).max() > 8.0
    data = Gaussian([0.2, -0.1], [0.3, 0.5])
    same = Generator([[0.2, -0.1]], [np.sqrt([0.3, 0.5])])
    rest = distribution_matching(data, FlowMatching(), [0.5]).as_shipped(same)
    assert np.abs(rest.mean).max() <= 1e-12
    with pytest.raises(ValueError, match="has dimension 1, where the normalised gradient has no expectation"):
        distribution_matching(LINE, FlowMatching(), [0.5]).as_shipped(AFFINE)


# ---------------------------------------------------------------- kernels


def test_kernel_losses_have_exact_gradients() -> None:
    for loss in (gaussian_kernel_loss(PLANE), polynomial_kernel_loss(PLANE, 2), polynomial_kernel_loss(PLANE, 1)):
        assert np.abs(loss.gradient(TILTED) - numerical(loss.value, TILTED)).max() <= 1e-9


@pytest.mark.parametrize("make", [gaussian_kernel_loss, lambda p: polynomial_kernel_loss(p, 2)])
def test_kernel_losses_agree_with_double_sums_over_draws(make: Any) -> None:
    loss = make(PLANE)
    x, y = TILTED.sample(1500, 0), PLANE.sample(1500, 1)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if hasattr(loss, "degree"):
            return (0.5 * a @ b.T + 1.0) ** 2
        return np.exp(-0.5 * np.sum((a[:, None] - b[None]) ** 2, axis=2))

    n = len(x)
    own = sum((kernel(a, a).sum() - np.trace(kernel(a, a))) / (n * (n - 1)) for a in (x, y))
    drawn = own - 2.0 * kernel(x, y).mean()
    assert loss.value(TILTED) == pytest.approx(drawn, abs=0.15 * loss.value(TILTED) + 5e-3)


def test_degree_one_sees_means_only() -> None:
    data = Gaussian([0.5, -0.2], [0.3, 0.9])
    narrow = Generator([[0.5, -0.2]], [[1e-3, 1e-3]])
    assert polynomial_kernel_loss(data).value(narrow) <= 1e-15
    assert np.abs(polynomial_kernel_loss(data).gradient(narrow)).max() <= 1e-12
    assert polynomial_kernel_loss(data, 2).value(narrow) > 0.1
    assert gaussian_kernel_loss(data).value(narrow) > 1e-2


# ---------------------------------------------------------------- refusals


def test_bad_input_is_refused() -> None:
    schedule = FlowMatching()
    with pytest.raises(ValueError, match=r"name='kl' is not a divergence: use one of 'reverse-kl'"):
        f_divergence("kl", LINE, schedule, [0.5])
    with pytest.raises(ValueError, match="weighting='snr' is not known"):
        f_divergence("reverse-kl", LINE, schedule, [0.5], weighting="snr")
    with pytest.raises(ValueError, match=r"^times\[1\] = 1.5 is outside"):
        f_divergence("reverse-kl", LINE, schedule, [0.5, 1.5])
    with pytest.raises(ValueError, match="nothing is left of the data"):
        f_divergence("reverse-kl", LINE, schedule, [1.0])
    with pytest.raises(ValueError, match="use one finite number a time"):
        f_divergence("reverse-kl", LINE, schedule, [0.5], weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="student has dimension 2, the problem 1"):
        f_divergence("reverse-kl", LINE, schedule, [0.5]).value(TILTED)
    with pytest.raises(ValueError, match="exact expectations are for one and two"):
        f_divergence("reverse-kl", rotated_product(3), schedule, [0.5]).value(
            Generator(np.zeros((1, 3)), np.ones((1, 3)))
        )
    with pytest.raises(ValueError, match=r"need .* nodes: use a larger noise level"):
        f_divergence("reverse-kl", LINE, EDM(), [1e-3]).value(Generator([[0.0]], [[1e5]]))
    with pytest.raises(ValueError, match=r"limit=0.0 clips everything away"):
        clipped_gradient(score_distillation(LINE, schedule, [0.5]), AFFINE, 0.0)
    with pytest.raises(ValueError, match=r"degree=3: closed forms are for degrees 1 and 2"):
        polynomial_kernel_loss(LINE, 3)
    with pytest.raises(ValueError, match=r"gamma=-1.0: the kernel needs a width"):
        gaussian_kernel_loss(LINE, -1.0)
    with pytest.raises(ValueError, match=r"factors has shape \(1, 2\): use"):
        Generator([[0.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="parameters has shape"):
        AFFINE.replace([1.0])
    with pytest.raises(TypeError, match="problem=str is no mixture of Gaussians"):
        f_divergence("reverse-kl", "digits", schedule, [0.5]).value(AFFINE)
