"""Active measurements: the information is that of Monte Carlo, greedy is right on Gaussians, and which scores fail."""

from __future__ import annotations

import numpy as np
import pytest

import diffnum as dn
from diffnum.inverse import information_gain, measure_actively
from diffnum.inverse.design import ACQUISITIONS

GAUSSIAN = dn.Gaussian(np.zeros(5), 2.0 ** -np.arange(5))
OUTLIER = dn.GaussianMixture(
    [0.475, 0.475, 0.025, 0.025], [[-1.5, 0.0], [1.5, 0.0], [-1.5, 8.0], [1.5, 8.0]], np.full(4, 0.04)
)
TREE = dn.GaussianMixture(
    np.full(4, 0.25), [[3.0, 2.0, 2.0], [3.0, -2.0, 2.0], [-3.0, 2.0, 2.0], [-3.0, 2.0, -2.0]], np.full(4, 0.04)
)


def test_the_information_of_a_gaussian_is_its_formula_and_that_of_a_mixture_the_monte_carlo_mean():
    rows = np.random.default_rng(0).standard_normal((3, 5))
    formula = 0.5 * np.log1p((rows**2 @ GAUSSIAN.eigenvalues) / 0.09)
    np.testing.assert_allclose(information_gain(GAUSSIAN, rows, 0.3), formula, atol=1e-12)
    as_mixture = dn.GaussianMixture([0.5, 0.5], np.zeros((2, 5)), np.stack([GAUSSIAN.covariance] * 2))
    np.testing.assert_allclose(information_gain(as_mixture, rows, 0.3), formula, atol=1e-10)
    found = measure_actively(TREE, np.eye(3)[:1], 0.5, 1, n=800)
    error = found.information.std() / np.sqrt(800)
    assert abs(found.information.mean() - information_gain(TREE, np.eye(3)[:1], 0.5)[0]) < 4 * error


def test_on_a_gaussian_the_best_design_is_known_beforehand_and_particles_come_near_to_it():
    exact = measure_actively(GAUSSIAN, np.eye(5), 0.2, 3, n=10)
    assert np.all(exact.chosen == np.arange(3))
    fixed = measure_actively(GAUSSIAN, np.eye(5), 0.2, 3, n=10, adaptive=False)
    np.testing.assert_array_equal(fixed.chosen, exact.chosen)
    for name in ("variance", "entropy bound"):
        few, many = (
            measure_actively(GAUSSIAN, np.eye(5), 0.2, 3, acquisition=name, n=15, particles=k) for k in (4, 256)
        )
        assert np.mean(few.chosen == np.arange(3)) < np.mean(many.chosen == np.arange(3)) >= 0.95


def test_the_sum_that_the_code_computes_goes_after_outliers_and_the_bound_does_not():
    picks = {
        name: measure_actively(OUTLIER, np.eye(2), 0.3, 1, acquisition=name, n=60, particles=64).chosen[:, 0]
        for name in ACQUISITIONS
    }
    assert np.all(picks["information"] == 0)
    assert np.mean(picks["entropy bound"] == 0) > 0.95
    assert np.mean(picks["spread"] == 1) > 0.9


def test_adaptive_designs_gain_where_what_to_ask_depends_on_the_answer():
    adaptive, fixed = (measure_actively(TREE, np.eye(3), 0.2, 2, n=100, adaptive=a) for a in (True, False))
    gain = adaptive.information[:, 1] - fixed.information[:, 1]
    assert abs(gain.mean() - 0.5 * np.log(2)) < 4 * gain.std() / np.sqrt(100) + 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 4}, "count=4: there are 3 candidates"),
        ({"acquisition": "entropy"}, "acquisition='entropy' is unknown: use one of information, variance"),
        ({"rows": np.eye(2)}, r"rows has shape \(2, 2\): candidates act on states of dimension 3"),
        ({"noise_std": 0.0}, "noise_std=0.0: give a standard deviation > 0"),
    ],
)
def test_designs_that_cannot_be_are_refused(arguments, message):
    given = {"rows": np.eye(3), "noise_std": 0.2, "count": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        measure_actively(TREE, **given)
