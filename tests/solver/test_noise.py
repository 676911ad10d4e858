"""Noise: the same for a sample whatever the batch, additive paths, exact joint laws."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients.catalogue import method as find
from diffnum.solver.noise import BrownianPath, NestedNoise, SampleStreams, exponential_clock, noise_intervals

SCHEDULE = dn.schedules.VPLinear()
MODEL = dn.problems.three_peaks().denoiser(SCHEDULE)
seeds = st.integers(0, 2**64 - 1)
points = st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3, unique=True).map(sorted)


def plan_of(name, n=6):
    return dn.plan(find(name), SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, n, t_start=1.0, t_end=0.01))


# -- streams -------------------------------------------------------------------------------------------


@given(seed=seeds, first=st.integers(0, 99), step=st.integers(0, 999), index=st.integers(0, 3))
def test_a_sample_has_the_same_draws_in_every_batch(seed, first, step, index):
    whole = SampleStreams(seed)(step, index, np.zeros((first + 3, 2, 5)))
    part = SampleStreams(seed, first)(step, index, np.zeros((2, 2, 5)))
    assert np.array_equal(whole[first : first + 2], part)


def test_draws_of_different_seed_sample_step_or_index_differ():
    like = np.zeros((2, 8))
    draws = [SampleStreams(s)(i, j, like) for s in (0, 1) for i in (0, 1) for j in (0, 1)]
    rows = np.concatenate(draws)
    assert len({tuple(row) for row in rows}) == 16


def test_draws_are_standard_normal():
    from scipy.stats import kstest

    draws = SampleStreams(3)(0, 0, np.zeros((200, 500))).ravel()
    assert kstest(draws, "norm").pvalue > 1e-3
    assert kstest(1.02 * draws, "norm").pvalue < 1e-3, "a 2 % wrong deviation must be seen"


def test_draws_follow_the_dtype_and_library_of_the_state():
    torch = pytest.importorskip("torch")
    exact = SampleStreams(0)(0, 0, np.zeros((2, 3)))
    single = SampleStreams(0)(0, 0, torch.zeros((2, 3), dtype=torch.float32))
    assert single.dtype == torch.float32
    assert np.array_equal(single.numpy(), exact.astype(np.float32))


@pytest.mark.parametrize("name", ["sde_dpmpp_2m", "seeds_3", "sa_solver_3_4", "ddim_eta0.5"])
def test_an_image_does_not_depend_on_its_batch(name):
    x = np.linspace(-2, 2, 5)[:, None]
    numbers = plan_of(name).for_prediction("data")
    model = dn.problems.three_peaks().denoiser(SCHEDULE, numbers.prediction)
    whole = dn.solve(numbers, model, x, noise=SampleStreams(7))
    alone = dn.solve(numbers, model, x[3:4], noise=SampleStreams(7, first=3))
    np.testing.assert_allclose(alone, whole[3:4], rtol=1e-12)


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_bad_seeds_are_refused(seed, error):
    with pytest.raises(error, match="seed"):
        SampleStreams(seed)


# -- paths ---------------------------------------------------------------------------------------------


@given(seed=seeds, abc=points, rate=st.sampled_from([0.0, 0.25, 1.0, -1.0]))
def test_increments_of_a_path_add_up(seed, abc, rate):
    a, b, c = abc
    like, path = np.zeros((2, 3)), BrownianPath(seed, -2.0, 2.0, rate)
    whole = path.increment(a, c, like)
    np.testing.assert_allclose(path.increment(a, b, like) + path.increment(b, c, like), whole, rtol=1e-13, atol=1e-13)


def test_a_path_does_not_depend_on_the_order_of_queries_or_the_batch():
    forward, backward = BrownianPath(5, 0.0, 1.0), BrownianPath(5, 0.0, 1.0)
    at = np.linspace(0, 1, 7).tolist()
    there = [forward.value(lam, (4, 2)) for lam in at]
    back = [backward.value(lam, (4, 2)) for lam in reversed(at)][::-1]
    assert np.array_equal(there, back)
    alone = BrownianPath(5, 0.0, 1.0, first=2)
    assert np.array_equal([alone.value(lam, (1, 2)) for lam in at], np.array(there)[:, 2:3])


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0])
def test_increments_have_their_variance_and_are_independent(rate):
    n, path = 4000, BrownianPath(1, -1.0, 1.0, rate)
    like = np.zeros((1, n))
    nodes = [-1.0, -0.55, 0.1, 1.0]
    draws = np.concatenate([path.normal(a, b, like) for a, b in pairwise(nodes)])
    np.testing.assert_allclose(draws @ draws.T / n, np.eye(3), atol=5 / math.sqrt(n))


def test_fine_and_coarse_runs_share_the_path():
    ends = [float(SCHEDULE.half_log_snr(t)) for t in (1.0, 0.01)]
    x = np.random.default_rng(0).standard_normal((32, 1))

    def end(steps, seed):
        numbers = plan_of("sde_dpmpp_1", steps)
        return dn.solve(numbers, MODEL, x, noise=BrownianPath(seed, *ends, rate=1.0).source(numbers))

    coarse, fine, unrelated = end(32, 9), end(64, 9), end(64, 10)
    assert np.median(np.abs(coarse - fine)) < 0.2 * np.median(np.abs(coarse - unrelated))


def test_a_query_outside_the_path_is_refused():
    with pytest.raises(ValueError, match="outside the path"):
        BrownianPath(0, 0.0, 1.0).value(1.5, (1, 1))
    with pytest.raises(ValueError, match="noisy end first"):
        BrownianPath(0, 1.0, 0.0)


# -- nested noise --------------------------------------------------------------------------------------


@given(seed=seeds, abc=points, rate=st.sampled_from([0.0, 0.25, 1.0, -1.0]))
def test_a_coarse_draw_is_the_weighted_sum_of_fine_ones(seed, abc, rate):
    a, b, c = abc
    if min(b - a, c - b) < 1e-6:
        return
    noise = NestedNoise([a, b, c], (2, 3), seed)

    def scaled(s, e):
        return noise.normal(s, e, rate) * math.exp(rate * s) * math.sqrt(exponential_clock(e - s, rate))

    np.testing.assert_allclose(scaled(a, b) + scaled(b, c), scaled(a, c), rtol=1e-9, atol=1e-12)


def test_integrals_of_two_weights_have_their_joint_law():
    n = 20000
    noise = NestedNoise([0.0, 0.5, 1.0], (1, n), 2)
    weights = [lambda lam: np.exp(lam), lambda lam: 1.0 / (1.0 + lam)]
    values = np.concatenate([noise.integral(0.0, 1.0, w) for w in weights])
    x, q = np.polynomial.legendre.leggauss(30)
    rows = np.stack([w(0.5 * (x + 1)) for w in weights])
    exact = 0.5 * (rows * q) @ rows.T
    np.testing.assert_allclose(values @ values.T / n, exact, atol=5 * exact.max() / math.sqrt(n))


def test_samples_of_nested_noise_do_not_depend_on_the_batch():
    edges = np.linspace(-1, 1, 9)
    whole, part = NestedNoise(edges, (5, 2), 4), NestedNoise(edges, (2, 2), 4, first=3)
    assert np.array_equal(whole.normal(-1.0, 0.5, 1.0)[3:], part.normal(-1.0, 0.5, 1.0))


def test_a_node_that_is_no_edge_is_refused():
    with pytest.raises(ValueError, match="no edge"):
        NestedNoise([0.0, 1.0], (1, 1), 0).normal(0.0, 0.5)


@pytest.mark.parametrize(("name", "draws"), [("sde_dpmpp_2m", 1), ("seeds_2", 2), ("seeds_3", 3), ("sde_trapezoid", 1)])
def test_the_draws_of_a_step_cover_it_without_gaps(name, draws):
    numbers = plan_of(name, 3)
    for step, parts in zip(numbers.steps, noise_intervals(numbers), strict=True):
        assert len(parts) == draws == len(step.noises)
        assert [b for _, b in parts[:-1]] == [a for a, _ in parts[1:]]
        assert parts[0][0] == pytest.approx(float(SCHEDULE.half_log_snr(step.t_from)))
        assert parts[-1][1] == pytest.approx(float(SCHEDULE.half_log_snr(step.t_to)))
