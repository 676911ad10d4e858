"""Distances between sets: exact where the answer is known, mean zero where unbiased, and bad input is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import linalg
from scipy.stats import wasserstein_distance

from diffnum.models.quality.metrics import (
    frechet_distance,
    kernel_distance,
    maximum_mean_discrepancy,
    sliced_wasserstein,
)

METRICS = (frechet_distance, kernel_distance, maximum_mean_discrepancy, sliced_wasserstein)


def normal(n: int, d: int, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return shift + scale * np.random.default_rng(seed).standard_normal((n, d))


def test_frechet_distance_is_that_of_the_formula() -> None:
    x, y = normal(400, 6), normal(500, 6, 1) @ normal(6, 6, 2) + 0.3
    covariances = [np.cov(z, rowvar=False) for z in (x, y)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    gap = x.mean(0) - y.mean(0)
    expected = gap @ gap + np.trace(covariances[0] + covariances[1] - 2.0 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_takes_singular_covariances() -> None:
    x = normal(5, 20)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-10)
    assert frechet_distance(x, x + 0.5) == pytest.approx(20 * 0.25, rel=1e-10)


def test_sliced_wasserstein_of_a_shift_and_of_a_scale() -> None:
    x = normal(300, 12)
    assert sliced_wasserstein(x, x) == 0.0
    assert sliced_wasserstein(x, x + 0.7, projections=20_000) == pytest.approx(0.7, rel=0.02)
    assert sliced_wasserstein(x, 3.0 * x) == pytest.approx(2.0, rel=0.1)  # projections of x have variance near 1


def test_sliced_wasserstein_takes_sets_of_different_sizes() -> None:
    """In one dimension there is one direction; the distance of order 2 of {0} and {0, 0, 1} is sqrt(1/3)."""
    x, y = np.zeros((2, 1)), np.array([[0.0], [0.0], [1.0]])
    assert sliced_wasserstein(x, y, projections=3) == pytest.approx(math.sqrt(1 / 3), rel=1e-12)
    # for sets of 0 and 1 the cost |a - b|^2 is |a - b|: scipy's distance of order 1 must agree
    a, b = (np.random.default_rng(k).integers(0, 2, (n, 1)).astype(float) for k, n in ((0, 12), (1, 17)))
    assert sliced_wasserstein(a, b) ** 2 == pytest.approx(wasserstein_distance(a[:, 0], b[:, 0]), rel=1e-12)


def test_discrepancies_are_unbiased_and_see_a_difference() -> None:
    for metric in (maximum_mean_discrepancy, kernel_distance):
        same = [metric(normal(60, 4, 2 * k), normal(60, 4, 2 * k + 1)) for k in range(40)]
        error = np.std(same) / math.sqrt(len(same))
        assert abs(np.mean(same)) < 4.0 * error
        assert min(same) < 0.0
        assert metric(normal(60, 4), normal(60, 4, 1, shift=1.0)) > 5.0 * np.std(same)


def test_maximum_mean_discrepancy_is_that_of_the_definition() -> None:
    x, y, width = normal(7, 3), normal(5, 3, 1), 1.3

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-float(((a - b) ** 2).sum()) / (2 * width**2))

    def within(z: np.ndarray) -> float:
        return sum(kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / (len(z) * (len(z) - 1))

    across = np.mean([kernel(a, b) for a in x for b in y])
    expected = within(x) + within(y) - 2.0 * across
    assert maximum_mean_discrepancy(x, y, bandwidth=width) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_bad_sets_are_named(metric) -> None:  # type: ignore[no-untyped-def]
    good = normal(8, 3)
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\)"):
        metric(good[:1], good)
    with pytest.raises(ValueError, match=r"y has shape \(8,\)"):
        metric(good, good[:, 0])
    with pytest.raises(ValueError, match="x has 3 columns and y has 2"):
        metric(good, good[:, :2])
    broken = good.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="y has values that are not finite"):
        metric(good, broken)


def test_bad_settings_are_named() -> None:
    x = normal(8, 3)
    with pytest.raises(ValueError, match="projections=0"):
        sliced_wasserstein(x, x, projections=0)
    with pytest.raises(ValueError, match=r"bandwidth=0\.0"):
        maximum_mean_discrepancy(x, np.ones((8, 3)))
