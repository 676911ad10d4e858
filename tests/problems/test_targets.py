"""Exact targets: evidence by quadrature, density ratios, limits, associativity, pruning bounds, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum.problems import Gaussian, GaussianMixture, Mixture1D, targets
from diffnum.schedules import EDM, VPLinear
from diffnum.types import Problem
from tests.optional import optional

from .cases import KINDS, close, kinds, make_mixture, matrices, schedules, seeds

torch = optional("torch")
quick = settings(max_examples=8, deadline=None)


def grid(mixtures: Any, count: int = 240) -> tuple[np.ndarray, float]:
    """Points of a plane that hold all the mass of some laws of dimension 2, and the area of a cell."""
    means = np.concatenate([m.means for m in mixtures])
    axis = np.linspace(means.min() - 10.0, means.max() + 10.0, count)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, (axis[1] - axis[0]) ** 2


def is_target(target: GaussianMixture, log_density: np.ndarray, points: np.ndarray, cell: float) -> None:
    """The target is the normalised density and its evidence the integral, by sums over a plane."""
    largest = np.max(log_density)
    evidence = largest + np.log(np.sum(np.exp(log_density - largest)) * cell)
    assert abs(target.log_evidence - evidence) < 1e-10 * max(1.0, abs(evidence))
    near = log_density > largest - 30.0
    close(target.log_prob(points[near]), (log_density - evidence)[near], 1e-10)


@quick
@given(seeds, kinds, st.sampled_from(["number", "diagonal", "matrix"]))
def test_tilts_have_the_density_and_the_evidence_of_their_definition(seed, kind, form):
    mixture, rng = make_mixture(seed, kind, dim=2), np.random.default_rng(seed)
    slope = rng.uniform(-1.0, 1.0, 2)
    full = rng.uniform(-1.0, 1.0, (2, 2))
    matrix = {
        "number": 0.3 * np.eye(2),
        "diagonal": np.diag([0.3, -2.0]),
        "matrix": 0.2 * (full + full.T) - 0.2 * np.eye(2),
    }[form]
    given_as = {"number": 0.3, "diagonal": np.diag(matrix), "matrix": matrix}[form]
    points, cell = grid([mixture])
    reward = points @ slope + 0.5 * np.einsum("ni,ij,nj->n", points, matrix, points)
    is_target(mixture.tilted(slope=slope, curvature=given_as), mixture.log_prob(points) + reward, points, cell)


@quick
@given(seeds, kinds, kinds)
def test_products_have_the_density_and_the_evidence_of_their_definition(seed, kind, other):
    a, b = make_mixture(seed, kind, dim=2), make_mixture(seed + 1, other, count=3, dim=2)
    points, cell = grid([a, b])
    is_target(a * b, a.log_prob(points) + b.log_prob(points), points, cell)


@quick
@given(seeds, kinds, st.sampled_from([1, 2, 3, 4]))
def test_powers_have_the_density_and_the_evidence_of_their_definition(seed, kind, exponent):
    mixture = make_mixture(seed, kind, count=3, dim=2)
    points, cell = grid([mixture])
    is_target(mixture.power(exponent), exponent * mixture.log_prob(points), points, cell)


@quick
@given(seeds, kinds, st.integers(1, 5), st.booleans())
def test_posteriors_have_the_density_and_the_evidence_of_their_definition(seed, kind, count, diagonal):
    mixture, rng = make_mixture(seed, kind, dim=2), np.random.default_rng(seed)
    matrix = rng.normal(size=2 if diagonal else (count, 2))
    full = np.diag(matrix) if diagonal else matrix
    noise, y = rng.uniform(0.2, 1.5, len(full)), rng.normal(size=len(full))
    points, cell = grid([mixture])
    residual = (y - points @ full.T) / noise
    likelihood = np.sum(-0.5 * residual**2 - np.log(noise * np.sqrt(2 * np.pi)), axis=1)
    is_target(mixture.posterior(matrix, y, noise), mixture.log_prob(points) + likelihood, points, cell)


def test_restriction_keeps_the_components_of_the_classes():
    mixture = make_mixture(3, "full", labels=[0, 1, 2, 1])
    chosen = mixture.restricted([0, 1])
    assert chosen.labels.tolist() == [0, 1, 1]
    assert chosen.log_evidence == pytest.approx(np.log(1.0 - mixture.weights[2]), abs=1e-14)
    close(chosen.weights, mixture.weights[[0, 1, 3]] / np.exp(chosen.log_evidence), 1e-15)
    close(mixture.restricted(1).means, mixture.conditional(1).means, 0.0)


@quick
@given(seeds, kinds)
def test_products_are_associative_and_powers_are_repeated_products(seed, kind):
    a, b, c = (make_mixture(seed + i, kind, count=2, dim=2) for i in range(3))
    left, right = (a * b) * c, a * (b * c)
    x = left.sample(6, seed)
    close(left.log_prob(x), right.log_prob(x), 1e-11)
    total = (a * b).log_evidence + left.log_evidence
    assert abs(total - (b * c).log_evidence - right.log_evidence) < 1e-11
    cube, chain = a.power(3), (a * a) * a
    close(cube.log_prob(x), chain.log_prob(x), 1e-11)
    assert abs(cube.log_evidence - (a * a).log_evidence - chain.log_evidence) < 1e-11
    assert len(cube.weights) == 4  # multisets of two components: aaa, aab, abb, bbb
    assert len(chain.weights) == 8


@quick
@given(seeds, kinds)
def test_tilts_add_up_and_the_posterior_is_a_tilt(seed, kind):
    mixture, rng = make_mixture(seed, kind, dim=2), np.random.default_rng(seed)
    b, c = rng.normal(size=2), rng.normal(size=2)
    once, twice = mixture.tilted(slope=b + c, curvature=-0.5), mixture.tilted(slope=b).tilted(slope=c, curvature=-0.5)
    x = once.sample(5, 0)
    close(once.log_prob(x), twice.log_prob(x), 1e-12)
    assert abs(once.log_evidence - twice.log_evidence - mixture.tilted(slope=b).log_evidence) < 1e-12
    matrix, y, noise = rng.normal(size=(3, 2)), rng.normal(size=3), 0.7
    tilt = mixture.tilted(slope=matrix.T @ y / noise**2, curvature=-matrix.T @ matrix / noise**2)
    constant = -0.5 * y @ y / noise**2 - 3 * np.log(noise * np.sqrt(2 * np.pi))
    seen = mixture.posterior(matrix, y, noise)
    close(tilt.log_prob(x), seen.log_prob(x), 1e-11)
    assert abs(tilt.log_evidence + constant - seen.log_evidence) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_limits_are_the_law_itself(kind):
    mixture = make_mixture(5, kind, labels=[0, 0, 1, 1])
    x = mixture.sample(7, 0)
    for same in (mixture.power(1), mixture.tilted(), mixture.restricted([0, 1])):
        close(same.log_prob(x), mixture.log_prob(x), 1e-13)
        assert abs(same.log_evidence) < 1e-14
        assert same.labels.tolist() == [0, 0, 1, 1]
    blind = mixture.posterior(np.ones((1, 3)), [4.0], 1e8)
    close(blind.log_prob(x), mixture.log_prob(x), 1e-12)
    # and with a precise measurement of everything it is the measurement
    y = np.array([0.3, -0.2, 0.9])
    sharp = mixture.posterior(np.eye(3), y, 1e-6)
    close(sharp.means, np.broadcast_to(y, sharp.means.shape), 1e-9)
    close(matrices(sharp), np.broadcast_to(1e-12 * np.eye(3), matrices(sharp).shape), 1e-20)


@pytest.mark.parametrize("kind", KINDS)
def test_covariances_keep_their_form_where_they_can(kind):
    mixture = make_mixture(2, kind)
    ndim = mixture.covariances.ndim
    assert mixture.power(2).covariances.ndim == (mixture * mixture).covariances.ndim == ndim
    assert mixture.tilted(slope=1.0, curvature=0.1).covariances.ndim == ndim
    assert mixture.tilted(curvature=[0.1, 0.0, 0.2]).covariances.ndim == max(2, ndim)
    assert mixture.posterior(np.ones(3), np.zeros(3), 1.0).covariances.ndim == max(2, ndim)


@quick
@given(seeds, kinds, schedules, st.floats(0.05, 0.9))
def test_scores_of_targets_are_gradients_of_their_log_densities(seed, kind, schedule, fraction):
    t = schedule.t_min + fraction * (schedule.t_max - schedule.t_min)
    for target in (make_mixture(seed, kind).power(2), make_mixture(seed, kind).tilted(slope=1.0, curvature=-1.0)):
        law = target.at(schedule, t)
        x = torch.tensor(law.sample(4, seed), requires_grad=True)
        (gradient,) = torch.autograd.grad(law.log_prob(x).sum(), x)
        close(target.denoiser(schedule, "score")(x.detach(), t), gradient, 1e-9)


def test_pruned_targets_are_within_their_bound():
    rng = np.random.default_rng(0)
    mixture = GaussianMixture(
        rng.dirichlet(np.full(14, 0.3)), rng.normal(size=(14, 2)) * 2.0, rng.uniform(0.1, 0.3, 14)
    )
    points, cell = grid([mixture], 100)
    for exponent, prune in ((2, 1e-3), (3, 1e-3), (3, 1e-6)):
        whole, cut = mixture.power(exponent), mixture.power(exponent, prune=prune)
        distance = 0.5 * cell * np.sum(np.abs(np.exp(whole.log_prob(points)) - np.exp(cut.log_prob(points))))
        assert len(cut.weights) < len(whole.weights)
        assert 0.0 < distance <= cut.discarded + 1e-12
        assert abs(np.expm1(cut.log_evidence - whole.log_evidence)) <= cut.discarded + 1e-12
    pair = targets.product(mixture, mixture, prune=1e-3)
    assert 0.0 < pair.discarded <= 1e-3
    assert pair.log_evidence == pytest.approx((mixture * mixture).log_evidence, abs=1e-13)
    assert whole.discarded == 0.0


def test_thousands_of_components_far_from_the_origin_lose_no_digits():
    rng = np.random.default_rng(1)
    means, variances = rng.normal(size=(2000, 4)), rng.uniform(0.1, 0.5, 2000)
    near, far = (GaussianMixture(np.full(2000, 1 / 2000), means + shift, variances) for shift in (0.0, 1e6))
    other, moved = (Gaussian(np.full(4, 0.3 + shift), 0.2) for shift in (0.0, 1e6))
    assert (near * other).log_evidence == pytest.approx((far * moved).log_evidence, abs=1e-8)
    assert len((near * other).weights) == 2000


# -- quadrature ------------------------------------------------------------------------------------------


PLANE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, 0.0]], [[0.3, 0.2], [0.5, 0.4]])
LINE = Mixture1D([0.4, 0.6], [-1.0, 1.2], [0.2, 0.3])


@pytest.mark.parametrize("problem", [PLANE, LINE])
def test_quadrature_gives_integer_powers_exactly_on_every_schedule(problem):
    exact, found = targets.power(problem, 2), targets.PowerProduct((problem,), (2.0,))
    assert isinstance(found, Problem)
    assert found.log_evidence == pytest.approx(exact.log_evidence, abs=1e-12)
    x = exact.sample(6, 0)
    close(found.log_prob(x), exact.log_prob(x), 1e-12)
    for schedule in (VPLinear(), EDM()):
        for t in np.geomspace(1e-4, 0.99, 7) * schedule.t_max:
            for prediction in ("score", "data", "noise", "v"):
                model, other = (law.denoiser(schedule, prediction) for law in (exact, found))
                at = schedule.alpha(t) * x + schedule.sigma(t) * np.linspace(-2, 2, 6)[:, None]
                close(other(at, t), model(at, t), 1e-10)
    close(found.flow(x, VPLinear(), 0.5, 1e-3), exact.flow(x, VPLinear(), 0.5, 1e-3), 1e-8)
    tangent = np.ones_like(x)
    model, other = (law.denoiser(VPLinear(), "data") for law in (exact, found))
    close(other.jvp(x, 0.3, tangent), model.jvp(x, 0.3, tangent), 1e-8)


def test_the_law_of_classifier_free_guidance_is_found_by_quadrature():
    from scipy.integrate import quad

    conditional = Gaussian([1.2], 0.3)
    law = targets.PowerProduct((LINE, conditional), (1 - 2.5, 2.5))

    def log_density(x: float) -> float:
        point = np.array([[x]])
        return float(-1.5 * LINE.log_prob(point)[0] + 2.5 * conditional.log_prob(point)[0])

    evidence, _ = quad(lambda x: np.exp(log_density(x)), -8, 10, epsabs=1e-13, points=[0.0, 1.2])
    assert law.log_evidence == pytest.approx(np.log(evidence), abs=1e-9)
    mean, _ = quad(lambda x: x * np.exp(log_density(x)), -8, 10, epsabs=1e-13, points=[0.0, 1.2])
    assert law.mean[0] == pytest.approx(mean / evidence, abs=1e-9)
    h, x = 1e-5, np.array([[0.4], [1.9]])
    slope = (law.log_prob(x + h) - law.log_prob(x - h)) / (2 * h)
    close(law.denoiser(VPLinear(), "score")(x, 0.0)[:, 0], slope, 1e-8)
    second = law.expectation(lambda points: points[:, 0] ** 2)
    assert second - law.mean[0] ** 2 == pytest.approx(law.covariance[0, 0], abs=1e-12)


@pytest.mark.parametrize("problem", [PLANE, LINE])
def test_samples_of_quadrature_have_its_moments(problem):
    law, n = targets.PowerProduct((problem,), (1.5,)), 4000
    x = law.sample(n, 3)
    z = (x.mean(axis=0) - law.mean) / np.sqrt(np.diag(law.covariance) / n)
    assert np.max(np.abs(z)) < 3.5
    apart = (x - law.mean) ** 2
    z = (apart.mean(axis=0) - np.diag(law.covariance)) / (apart.std(axis=0) / np.sqrt(n))
    assert np.max(np.abs(z)) < 3.5


def test_torch_states_come_back_as_torch():
    law = targets.PowerProduct((PLANE,), (1.5,))
    x = torch.tensor([[0.1, 0.2]], dtype=torch.float32)
    out = law.denoiser(VPLinear())(x, torch.tensor([0.3]))
    assert out.dtype == torch.float32
    assert out.shape == (1, 2)
    assert law.log_prob(x).dtype == torch.float32


# -- what is refused -------------------------------------------------------------------------------------


WIDE = GaussianMixture([1.0], [[0.0, 0.0]], [[1.0, 0.25]])


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: WIDE.tilted(curvature=2.0), ValueError, r"2 times the precision.*less than 0\.5"),
        (lambda: WIDE.tilted(curvature=[1.0, 1.0]), ValueError, "no integral; multiply the reward by less than 1"),
        (lambda: WIDE.tilted(curvature=[[0.0, 1.0], [0.0, 0.0]]), ValueError, "curvature differs from its transpose"),
        (lambda: WIDE.tilted(slope=[1.0]), ValueError, r"slope has shape \(1,\)"),
        (lambda: WIDE.tilted(curvature=[1.0]), ValueError, r"curvature has shape \(1,\)"),
        (lambda: WIDE.tilted(slope=np.nan), ValueError, "slope.*not finite"),
        (lambda: WIDE.power(-1), ValueError, "exponent=-1: only the powers 1, 2, 3"),
        (lambda: WIDE.power(1.5), ValueError, "use targets.PowerProduct"),
        (lambda: WIDE.power("2"), TypeError, "exponent='2' is a str"),
        (lambda: WIDE.power(2, prune=1.0), ValueError, "prune=1.0 is no share"),
        (lambda: WIDE * LINE, ValueError, "first has dimension 2, second 1"),
        (lambda: WIDE * 2.0, TypeError, "problem=float is no mixture of Gaussians"),
        (lambda: WIDE.posterior(np.eye(2), [0.0, 1.0], 0.0), ValueError, "noise_std=0.0: give one standard deviation"),
        (lambda: WIDE.posterior(np.eye(3), [0.0] * 3, 1.0), ValueError, r"A has shape \(3, 3\)"),
        (lambda: WIDE.posterior([1.0, 0.0], [0.5], 1.0), ValueError, r"one measurement alone has A of shape \(1, d\)"),
        (lambda: WIDE.restricted(1), ValueError, "this mixture has no classes"),
        (lambda: make_mixture(0, "full", labels=[0, 1, 1, 1]).restricted([1, 7]), ValueError, r"\[7\] is no class"),
        (lambda: targets.PowerProduct((WIDE,), (1.0, 2.0)), ValueError, "exponents has 2 entries for 1 problems"),
        (lambda: targets.PowerProduct((WIDE,), (-0.5,)), ValueError, "no integral, far out along"),
        (lambda: targets.PowerProduct((make_mixture(0, "full"),), (1.5,)), ValueError, "quadrature is for one or two"),
        (
            lambda: targets.PowerProduct((LINE, Gaussian([0.0], 0.1)), (2.0, -1.0)),
            ValueError,
            "its logarithm does not fall",
        ),
    ],
)
def test_what_has_no_target_is_refused(action, error, message):
    with pytest.raises(error, match=message):
        action()


def test_a_tilt_just_below_the_largest_admissible_scale_exists():
    assert np.isfinite(WIDE.tilted(curvature=2.0 * 0.49999).log_evidence)
