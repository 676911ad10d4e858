"""Named problems with exact flow maps: the defaults of the order study."""

from __future__ import annotations

import numpy as np

from diffnum.problems._states import positive_count
from diffnum.problems.gaussian import Gaussian
from diffnum.problems.product import Mixture1D, RotatedProduct
from diffnum.types import Problem


def three_peaks() -> Mixture1D:
    """Three overlapping peaks on the line, none of them symmetric about zero.

    Returns
    -------
    Mixture1D
    """
    return Mixture1D(np.array([0.3, 0.5, 0.2]), np.array([-1.2, 0.4, 1.7]), np.array([0.16, 0.25, 0.09]))


def rotated_product(dim: int = 8, seed: int = 0) -> RotatedProduct:
    """Product of random mixtures of two or three peaks, in a random orthogonal frame.

    Parameters
    ----------
    dim : int
        Dimension, at least 1.
    seed : int
        Seed of the mixtures and of the frame.

    Returns
    -------
    RotatedProduct
    """
    dim = positive_count(dim, "dim")
    generator = np.random.default_rng(seed)
    mixtures = []
    for index in range(dim):
        count = 2 + index % 2
        weights = 0.5 / count + 0.5 * generator.dirichlet(np.full(count, 4.0))
        centres = np.linspace(-1.2, 1.2, count) + generator.uniform(-0.3, 0.3, count)
        mixtures.append(Mixture1D(weights, centres, generator.uniform(0.09, 0.36, count)))
    return RotatedProduct(tuple(mixtures), seed=seed)


def gaussian_example(dim: int = 4, seed: int = 0) -> Gaussian:
    """Gaussian with covariance eigenvalues from 0.05 to 2 in a random frame, and a mean that is not zero.

    Parameters
    ----------
    dim : int
        Dimension, at least 1.
    seed : int
        Seed of the mean and of the frame.

    Returns
    -------
    Gaussian
    """
    dim = positive_count(dim, "dim")
    generator = np.random.default_rng(seed)
    frame, _ = np.linalg.qr(generator.standard_normal((dim, dim)))
    covariance = (frame * np.geomspace(0.05, 2.0, dim)) @ frame.T
    return Gaussian(generator.uniform(-1.0, 1.0, dim), 0.5 * (covariance + covariance.T))


def examples() -> dict[str, Problem]:
    """Problems by name; all have flow maps that are exact to rounding.

    Returns
    -------
    dict of str to Problem
    """
    return {
        "three-peaks": three_peaks(),
        "rotated-product": rotated_product(),
        "gaussian": gaussian_example(),
    }
