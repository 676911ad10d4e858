"""Rank correlation with the interval that so few points deserve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from diffnum.types import FloatArray

__all__ = ["RankCorrelation", "rank_correlation"]


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation, and how far it moves when the points are drawn anew.

    Parameters
    ----------
    value : float
        Correlation of the ranks, from -1 to 1; ties share their mean rank.
    low, high : float
        Ends of the bootstrap interval: quantiles over resampled points.
    count : int
        Points.
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """Value and interval."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def rank_correlation(
    first: ArrayLike, second: ArrayLike, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> RankCorrelation:
    """Spearman's rank correlation with a bootstrap interval.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Two measures of the same n >= 3 things; pairs with a NaN are left out.
    resamples : int
        Draws of n pairs with replacement, at least 1; those in which a measure is constant decide nothing.
    level : float
        Probability of the interval, between 0 and 1.
    seed : int
        Seed of the draws.

    Returns
    -------
    RankCorrelation

    Raises
    ------
    ValueError
        If shapes differ, fewer than three pairs are left, or a measure is constant.

    Examples
    --------
    >>> print(rank_correlation([1, 2, 3, 4], [10, 20, 40, 30]).value)
    0.8
    """
    a, b = (np.asarray(v, dtype=np.float64) for v in (first, second))
    if a.ndim != 1 or a.shape != b.shape:
        msg = f"first has shape {a.shape}, second {b.shape}: pass two vectors of the same length"
        raise ValueError(msg)
    if resamples < 1 or not 0.0 < level < 1.0:
        msg = f"resamples={resamples}, level={level}: use at least 1 draw and a level between 0 and 1"
        raise ValueError(msg)
    seen = ~(np.isnan(a) | np.isnan(b))
    a, b = a[seen], b[seen]
    if len(a) < 3 or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        msg = f"{len(a)} pairs are left: give at least 3, and measures that are not constant"
        raise ValueError(msg)
    drawn = np.random.default_rng(seed).integers(len(a), size=(resamples, len(a)))
    values = _spearman(a[drawn], b[drawn])
    low, high = np.nanquantile(values, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return RankCorrelation(float(_spearman(a[None], b[None])[0]), float(low), float(high), len(a))


def _spearman(a: FloatArray, b: FloatArray) -> FloatArray:
    """Correlations of the ranks in each row; NaN where a row is constant."""
    from scipy.stats import rankdata  # slow to import, and rarely needed

    a, b = (rankdata(v, axis=1) for v in (a, b))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray(np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=size > 0))
