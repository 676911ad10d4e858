"""Distances between two sets of images, for judging samplers by what they draw.

Every distance takes arrays of shape (n, d), one sample a row: pixels, or features of a network
(:mod:`diffnum.models.quality.features`). None of them is a proof of quality; each sees something else, and all have
a bias that depends on the number of samples, so only numbers of one table, computed with the same samples and settings,
compare.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.types import FloatArray

__all__ = ["frechet_distance", "kernel_distance", "maximum_mean_discrepancy", "sliced_wasserstein"]


def sliced_wasserstein(x: ArrayLike, y: ArrayLike, *, projections: int = 256, seed: int = 0) -> float:
    """Sliced 2-Wasserstein distance: root mean square over random directions of the distance of the projections.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Samples; the numbers may differ.
    projections : int
        Number of directions, uniform on the sphere.
    seed : int
        Seed of the directions.

    Returns
    -------
    float
        In the unit of the samples: two constants ``a`` and ``b`` in all entries are about ``|a - b|`` apart.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is not finite.

    References
    ----------
    Bonneel et al., Sliced and Radon Wasserstein barycenters of measures, J. Math. Imaging Vis. 51, 2015.
    """
    x, y = _pair(x, y)
    if projections < 1:
        msg = f"projections={projections}: use at least one direction"
        raise ValueError(msg)
    directions = np.random.default_rng(seed).standard_normal((x.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    first, second = np.sort(x @ directions, axis=0), np.sort(y @ directions, axis=0)
    # Quantile functions are steps: integrate over the union of both sets of jumps.
    edges = np.union1d(np.arange(len(x) + 1) / len(x), np.arange(len(y) + 1) / len(y))
    middle, weight = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    rows, columns = (np.minimum((middle * len(z)).astype(int), len(z) - 1) for z in (first, second))
    squares = weight @ (first[rows] - second[columns]) ** 2
    return math.sqrt(float(squares.mean()))


def maximum_mean_discrepancy(
    x: ArrayLike, y: ArrayLike, *, bandwidth: float | None = None, paired: bool = False
) -> float:
    """Squared maximum mean discrepancy with a Gaussian kernel, unbiased (so it may be slightly negative).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Samples, at least 2 in each.
    paired : bool
        Whether row i of ``x`` and row i of ``y`` come from the same noise. Such pairs are no independent draws, and are
        left out of the mean over both sets; the estimate is then zero where the sets are equal.
    bandwidth : float, optional
        Standard deviation of the kernel; the median distance within ``y`` by default, so that all sets that are held
        against the same ``y`` share it.

    Raises
    ------
    ValueError
        If the shapes do not fit, a value is not finite, or the bandwidth is not positive.

    References
    ----------
    Gretton et al., A kernel two-sample test, JMLR 13, 2012, eq. 3.
    """
    from scipy.spatial.distance import cdist, pdist

    x, y = _pair(x, y)
    width = float(np.median(pdist(y))) if bandwidth is None else float(bandwidth)
    if not width > 0:
        msg = f"bandwidth={width}: it must be positive (are all rows of y equal?)"
        raise ValueError(msg)

    def kernel(a: FloatArray, b: FloatArray) -> FloatArray:
        found: FloatArray = np.exp(-cdist(a, b, "sqeuclidean") / (2.0 * width**2))
        return found

    return _unbiased(kernel(x, x), kernel(y, y), kernel(x, y), paired)


def kernel_distance(x: ArrayLike, y: ArrayLike, *, paired: bool = False) -> float:
    """Kernel distance (KID): squared maximum mean discrepancy with the kernel (x.y/d + 1)^3, unbiased.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Features of samples, at least 2 in each.
    paired : bool
        As in :func:`maximum_mean_discrepancy`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is not finite.

    References
    ----------
    Binkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv:1801.01401. All samples are used at once, not subsets.
    """
    x, y = _pair(x, y)
    d = x.shape[1]
    within, other, across = ((a @ b.T / d + 1.0) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    return _unbiased(within, other, across, paired)


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance of the normal laws with the means and covariances of two sets (FID, for Inception features).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Features of samples. With fewer than a few times d samples the distance is far too large.

    Returns
    -------
    float
        ``|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2))``.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is not finite.

    References
    ----------
    Heusel et al., GANs trained by a two time-scale update rule, NeurIPS 2017, arXiv:1706.08500, eq. 6.
    """
    x, y = _pair(x, y)
    difference = x.mean(0) - y.mean(0)
    centred = [(z - z.mean(0)) / math.sqrt(len(z) - 1) for z in (x, y)]
    # C = R^T R with R triangular, so tr (C_x C_y)^(1/2) is the sum of the singular values of R_x R_y^T: no matrix has
    # to be inverted or rooted, and singular covariances are no special case.
    first, second = (np.asarray(np.linalg.qr(z, mode="r")) for z in centred)
    shared = float(np.linalg.norm(first @ second.T, "nuc"))
    spread = sum(float((z**2).sum()) for z in centred)
    return float(difference @ difference) + max(0.0, spread - 2.0 * shared)


def _unbiased(xx: FloatArray, yy: FloatArray, xy: FloatArray, paired: bool) -> float:
    """Squared discrepancy from kernel matrices, without the diagonals where the two draws are not independent."""
    if paired and xx.shape != yy.shape:
        msg = f"paired=True needs sets of one size, x has {len(xx)} rows and y {len(yy)}"
        raise ValueError(msg)

    def mean(kernel: FloatArray, without_diagonal: bool) -> float:
        n = len(kernel)
        return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)) if without_diagonal else kernel.mean())

    return mean(xx, True) + mean(yy, True) - 2.0 * mean(xy, paired)


def _pair(x: Any, y: Any) -> tuple[FloatArray, FloatArray]:
    """Both sets as float64 matrices."""
    found = []
    for name, value in (("x", x), ("y", y)):
        array = np.asarray(value, dtype=np.float64)
        if array.ndim != 2 or len(array) < 2:
            msg = f"{name} has shape {array.shape}: pass at least 2 samples, shape (n, d)"
            raise ValueError(msg)
        if not np.isfinite(array).all():
            msg = f"{name} has values that are not finite: replace them first"
            raise ValueError(msg)
        found.append(array)
    if found[0].shape[1] != found[1].shape[1]:
        msg = f"x has {found[0].shape[1]} columns and y has {found[1].shape[1]}: make them equal"
        raise ValueError(msg)
    return found[0], found[1]
