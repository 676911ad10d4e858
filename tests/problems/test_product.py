"""CDF matching on the line and rotated products of it: the exact flows of the order study."""

from __future__ import annotations

import itertools
import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum.problems import (
    Gaussian,
    GaussianMixture,
    Mixture1D,
    RotatedProduct,
    _components,
    examples,
    rotated_product,
    three_peaks,
)
from diffnum.problems._flow import integrate
from diffnum.problems.product import log_tail
from diffnum.schedules import EDM, MeanReverting, VPLinear
from diffnum.types import Problem
from tests.optional import optional

from .cases import PREDICTIONS, SCHEDULES, close, fractions, inner_time, predictions, schedules, seeds, states

torch = optional("torch")

quick = settings(max_examples=40, deadline=None)


def line(seed: int, count: int = 3) -> Mixture1D:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(count, 2.0))
    return Mixture1D(weights, rng.uniform(-2, 2, count), rng.uniform(0.05, 1.0, count))


def expanded(problem: RotatedProduct) -> GaussianMixture:
    """The same law with every combination of components written out."""
    weights, means, variances = [], [], []
    for choice in itertools.product(*(range(len(m.weights)) for m in problem.mixtures)):
        picked = list(zip(problem.mixtures, choice, strict=True))
        weights.append(np.prod([m.weights[k] for m, k in picked]))
        means.append([m.means[k] for m, k in picked])
        variances.append([m.variances[k] for m, k in picked])
    frame = np.eye(problem.dim) if problem.rotation is None else problem.rotation
    full = (frame * np.array(variances)[:, None, :]) @ frame.T
    return GaussianMixture(np.array(weights), np.array(means) @ frame.T, 0.5 * (full + np.swapaxes(full, 1, 2)))


def test_examples_are_problems_with_names():
    found = examples()
    assert list(found) == ["three-peaks", "rotated-product", "gaussian"]
    assert all(isinstance(problem, Problem) for problem in found.values())
    assert found["rotated-product"].dim == 8


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("problem", [three_peaks(), rotated_product(5, seed=1)], ids=["line", "product"])
def test_cdf_matching_is_the_integrated_flow(problem, name):
    schedule = SCHEDULES[name]
    core = problem.core if isinstance(problem, RotatedProduct) else RotatedProduct((problem,)).core
    x = states(problem, schedule, schedule.t_max)
    ends = [(float(schedule.alpha(t)), float(schedule.sigma(t))) for t in (schedule.t_max, schedule.t_min)]
    drifts = [(1 - alpha) * schedule.mean for alpha, _ in ends]
    expected = integrate(core.predict, x - drifts[0], *ends) + drifts[1]
    close(problem.flow(x, schedule, schedule.t_max, schedule.t_min), expected, 2e-13)
    # Negative control: a thousandth of the weight moved to another peak is seen.
    if isinstance(problem, Mixture1D):
        other = Mixture1D(problem.weights + np.array([1e-3, -1e-3, 0]), problem.means, problem.variances)
        assert np.max(np.abs(other.flow(x, schedule, schedule.t_max, schedule.t_min) - expected)) > 1e-5


@quick
@given(seeds, schedules, fractions, fractions, fractions)
def test_flow_composes_and_inverts(seed, schedule, first, middle, last):
    problem = line(seed)
    a, b, c = (inner_time(schedule, f) for f in (first, middle, last))
    x = states(problem, schedule, a)
    there, halfway = problem.flow(x, schedule, a, c), problem.flow(x, schedule, a, b)
    by_stages = problem.flow(halfway, schedule, b, c)
    # The derivative of the map is a ratio of densities; rounding of its argument is amplified by it.
    densities = [np.exp(problem.at(schedule, t).log_prob(z)) for t, z in ((a, x), (b, halfway), (c, there))]
    size = 1e-13 * (1 + np.max(np.abs(x)) + np.max(np.abs(there)))
    allowed = size * (1 + densities[0] / densities[2] + densities[1] / densities[2])
    assert np.all(np.abs(by_stages - there)[:, 0] <= allowed)
    back = problem.flow(there, schedule, c, a)
    assert np.all(np.abs(back - x)[:, 0] <= size * (1 + densities[2] / densities[0]))


@quick
@given(seeds, schedules, fractions, fractions)
def test_flow_keeps_order_and_probability(seed, schedule, first, last):
    problem, a, b = line(seed), inner_time(schedule, first), inner_time(schedule, last)
    x = np.sort(states(problem, schedule, a, n=30), axis=0)
    y = problem.flow(x, schedule, a, b)
    assert np.all(np.diff(y[:, 0]) >= 0)
    tails = []
    for points, law in ((x, problem.at(schedule, a)), (y, problem.at(schedule, b))):
        rows = [np.tile(v, (30, 1)) for v in (np.log(law.weights), law.means, np.sqrt(law.variances))]
        tails.append(np.stack([log_tail(points[:, 0], *rows, side) for side in (1.0, -1.0)]))
    side = np.argmin(tails[0], axis=0)[None]
    before, after = (np.take_along_axis(tail, side, axis=0) for tail in tails)
    close(after / before, np.ones((1, 30)), 1e-11)


def test_both_tails_are_exact_thirty_deviations_out():
    problem, schedule = Mixture1D([0.4, 0.6], [-1.0, 1.0], [0.2, 0.3]), VPLinear()
    x = np.array([[-30.0], [-12.0], [12.0], [30.0]])
    y = problem.flow(x, schedule, 1.0, 0.05)
    before, after = problem.at(schedule, 1.0), problem.at(schedule, 0.05)

    def tail(law: Mixture1D, value: float, sign: float) -> mpmath.mpf:
        with mpmath.workdps(60):
            return mpmath.fsum(
                mpmath.mpf(w) * mpmath.ncdf(sign * (mpmath.mpf(value) - mpmath.mpf(m)) / mpmath.sqrt(mpmath.mpf(v)))
                for w, m, v in zip(law.weights, law.means, law.variances, strict=True)
            )

    for value, moved in zip(x[:, 0], y[:, 0], strict=True):
        sign = -1.0 if value > 0 else 1.0
        target = tail(before, float(value), sign)
        with mpmath.workdps(60):
            exact = mpmath.findroot(
                lambda z, sign=sign, target=target: mpmath.log(tail(after, z, sign)) - mpmath.log(target),
                mpmath.mpf(float(moved)),
            )
            assert abs(moved / float(exact) - 1) < 2e-15 * 4
    close(problem.flow(y, schedule, 0.05, 1.0), x, 1e-14)


def test_narrow_peaks_far_apart_are_matched_without_losing_a_sample():
    problem = Mixture1D([0.5, 0.3, 0.2], [-40.0, 0.0, 90.0], [1e-6, 1e-4, 1e-2])
    x = np.linspace(-4.0, 4.0, 101)[:, None]
    y = problem.flow(x, VPLinear(), 1.0, 1e-4)
    assert np.all(np.isfinite(y))
    assert np.all(np.diff(y[:, 0]) >= 0)
    nearest = np.min(np.abs(y - problem.means), axis=1)
    assert np.mean(nearest < 1.0) > 0.9


@quick
@given(seeds, schedules, fractions)
def test_one_component_flows_as_a_gaussian(seed, schedule, fraction):
    problem = line(seed, count=1)
    gaussian, t = Gaussian(problem.means, problem.variances), inner_time(schedule, fraction)
    x = np.linspace(-5, 5, 7)[:, None] * float(schedule.sigma(t))
    close(problem.flow(x, schedule, t, 0.01), gaussian.flow(x, schedule, t, 0.01), 1e-14)


@quick
@given(seeds, predictions, schedules, fractions, st.booleans())
def test_product_is_the_mixture_of_all_combinations(seed, prediction, schedule, fraction, per_sample):
    problem = RotatedProduct([line(seed, 3), line(seed + 1, 2), line(seed + 2, 1)], seed=seed % 1000)
    whole, t = expanded(problem), inner_time(schedule, fraction)
    times = np.full(5, t) if per_sample else t
    x = states(problem, schedule, t)
    model, reference = problem.denoiser(schedule, prediction), whole.denoiser(schedule, prediction)
    close(model(x, times), reference(x, times), 1e-11)
    close(model(torch.tensor(x), times), model(x, times), 1e-12)
    close(model(torch.tensor(x, dtype=torch.float32), times), model(x, times), 1e-4)
    close(model.jvp(x, times, x[::-1]), reference.jvp(x, times, x[::-1]), 1e-10)
    close(problem.log_prob(x), whole.log_prob(x), 1e-11)
    close(problem.at(schedule, t).log_prob(x), whole.at(schedule, t).log_prob(x), 1e-10)


def test_product_flow_is_the_flow_of_all_combinations():
    problem = RotatedProduct([line(0, 3), line(1, 2)], seed=3)
    for schedule in (VPLinear(), EDM(), MeanReverting(mean=np.array([0.5, -1.0]))):
        x = states(problem, schedule, schedule.t_max)
        expected = expanded(problem).flow(x, schedule, schedule.t_max, 1e-3)
        close(problem.flow(x, schedule, schedule.t_max, 1e-3), expected, 1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_both_ends_of_every_schedule_are_finite_and_silent(name):
    schedule, problem = SCHEDULES[name], rotated_product(4)
    for t in (schedule.t_min, schedule.t_max):
        x = states(problem, schedule, t)
        for prediction in PREDICTIONS:
            assert np.all(np.isfinite(problem.denoiser(schedule, prediction)(x, t)))
    assert np.all(np.isfinite(problem.flow(x, schedule, schedule.t_max, schedule.t_min)))


def test_blocks_pickles_and_samples(monkeypatch):
    problem, schedule = rotated_product(4), VPLinear()
    t = np.linspace(0.1, 0.9, 9)
    x, model = states(problem, schedule, t, n=9), problem.denoiser(schedule, "v")
    expected = model(x, t)
    monkeypatch.setattr(_components, "BLOCK", 20)
    close(model(x, t), expected, 1e-14)
    close(pickle.loads(pickle.dumps(model))(x, t), expected, 1e-14)
    points = problem.sample(100_000, seed=0)
    assert np.array_equal(points, problem.sample(100_000, seed=0))
    mean = problem.rotation @ [m.weights @ m.means for m in problem.mixtures]
    close(points.mean(0), mean, 0.02)
    spread = [m.weights @ (m.means**2 + m.variances) - (m.weights @ m.means) ** 2 for m in problem.mixtures]
    close(np.cov(points.T), (problem.rotation * spread) @ problem.rotation.T, 0.03)


def test_bad_products_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"variances\[1\] = 0.0 is not positive"):
        Mixture1D([0.5, 0.5], [0.0, 1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="2, 2 and 1 entries"):
        Mixture1D([0.5, 0.5], [0.0, 1.0], [1.0])
    with pytest.raises(ValueError, match="mixtures is empty"):
        RotatedProduct(())
    with pytest.raises(TypeError, match=r"mixtures\[0\] is a int"):
        RotatedProduct((1,))
    with pytest.raises(ValueError, match="both given"):
        RotatedProduct((line(0), line(1)), np.eye(2), seed=0)
    with pytest.raises(ValueError, match=r"rotation has shape \(3, 3\); expected \(2, 2\)"):
        RotatedProduct((line(0), line(1)), np.eye(3))
    with pytest.raises(ValueError, match="rotation is not orthogonal"):
        RotatedProduct((line(0), line(1)), [[1.0, 0.1], [0.0, 1.0]])
    with pytest.raises(ValueError, match="dim=0"):
        rotated_product(0)
    with pytest.raises(ValueError, match=r"x has shape \(4,\)"):
        three_peaks().flow(np.zeros(4), VPLinear(), 1.0, 0.5)
