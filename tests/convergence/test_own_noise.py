"""Samplers of one's own that draw noise: the orders of the catalogue where they are the same, and defects found."""

from itertools import pairwise

import numpy as np
import pytest

import diffnum as dn

STEPS = (16, 32, 64, 128)


def reverse_euler(model, x, nodes, noise, factor=1.0):
    """SDE-DPM-Solver++(1) at the noise level 1."""
    s = model.schedule
    for a, b in pairwise(nodes):
        h = b - a
        (alpha, sigma_0), sigma_1 = (s.alpha(s.time(b)), s.sigma(s.time(a))), s.sigma(s.time(b))
        mean = sigma_1 / sigma_0 * np.exp(-h) * x - alpha * np.expm1(-2 * h) * model.data(x, a)
        x = mean + factor * sigma_1 * np.sqrt(-np.expm1(-2 * h)) * noise(a, b, rate=1.0)
    return x


@pytest.mark.parametrize("measure", ["strong", "weak", "law"])
@pytest.mark.parametrize("problem", [None, dn.Gaussian([0.5, -1.0], [[1.0, 0.6], [0.6, 2.0]])])
def test_a_sampler_of_ones_own_has_the_errors_of_the_same_method_of_the_catalogue(measure, problem):
    options = {"measure": measure, "grids": ("irregular",), "steps": STEPS, "problem": problem}
    own = dn.convergence_study(reverse_euler, **options)
    record = dn.convergence_study("sde_dpmpp_1", **options)
    own.assert_order(1)
    for a, b in zip(own.series, record.series, strict=True):
        assert a.quantity == b.quantity
        levels = slice(0, len(STEPS))
        np.testing.assert_allclose(a.estimate.errors[levels], b.estimate.errors[levels], rtol=1e-6, atol=1e-12)


def test_increments_of_the_path_do_as_well_as_weighted_ones():
    def plain(model, x, nodes, noise):
        return reverse_euler(model, x, nodes, lambda a, b, rate: noise(a, b))

    dn.convergence_study(plain, measure="strong", grids=("uniform",), steps=STEPS).assert_order(1)


@pytest.mark.parametrize("measure", ["strong", "weak", "law"])
def test_one_percent_of_wrong_noise_is_noticed(measure):
    def wrong(model, x, nodes, noise):
        return reverse_euler(model, x, nodes, noise, 1.01)

    with pytest.raises(AssertionError, match="does not show"):
        dn.convergence_study(wrong, measure=measure, grids=("uniform",), steps=STEPS).assert_order(1)


def test_draws_of_one_normal_for_the_whole_run_are_no_path():
    def lazy(model, x, nodes, noise):
        return reverse_euler(model, x, nodes, lambda a, b, rate: noise(nodes[0], nodes[-1]))

    with pytest.raises(AssertionError, match="does not show"):
        dn.convergence_study(lazy, measure="weak", grids=("uniform",), steps=STEPS).assert_order(1)


def own_generator(model, x, nodes, noise):
    return reverse_euler(model, x, nodes, noise) + 1e-3 * np.random.default_rng().standard_normal(x.shape)


def clipping(model, x, nodes, noise):
    return np.clip(reverse_euler(model, x, nodes, noise), -0.5, 0.5)


@pytest.mark.parametrize(
    ("sampler", "options", "error", "match"),
    [
        (lambda model, x, nodes: x, {}, TypeError, r"sampler\(model, x, nodes, noise\)"),
        (lambda model, x, nodes, noise: x, {}, ValueError, "never calls noise"),
        (own_generator, {}, ValueError, "not affine"),
        (clipping, {}, ValueError, "not affine"),
        (reverse_euler, {"problem": dn.problems.three_peaks()}, TypeError, "use dn.Gaussian"),
        (lambda model, x, nodes, noise: x + noise(1.0, 0.0), {}, ValueError, "smaller one first"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_a_remedy(sampler, options, error, match):
    with pytest.raises(error, match=match):
        dn.convergence_study(sampler, measure="weak", grids=("uniform",), steps=STEPS, **options)
