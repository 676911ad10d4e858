"""Products of two sums of terms, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diffnum.problems._components import log_sum_exp
from diffnum.problems.terms.sums import Terms, TermSum, check_prune, kept, widened
from diffnum.types import FloatArray

__all__ = ["pair_weights", "paired", "product_terms"]

PAIRS = 1 << 20
"""Largest number of entries of a block of pairs."""


def product_terms(first: Terms, second: Terms, prune: float) -> TermSum:
    """Products of all pairs of two sums; see :func:`diffnum.problems.targets.product`.

    Parameters
    ----------
    first, second : Terms
        In one dimension d, K and M of them.
    prune : float
        Share of the mass that may be left out, 0 to 1: of the K M pairs the lightest ones go.

    Returns
    -------
    TermSum

    Raises
    ------
    ValueError
        If the dimensions differ, or ``prune`` is no share.
    """
    prune = check_prune(prune)
    if first.dim != second.dim:
        msg = f"first has dimension {first.dim}, second {second.dim}: a product needs laws on one space"
        raise ValueError(msg)
    weights = pair_weights(first, second)
    chosen, lost = kept(weights.ravel(), prune)
    i, j = np.unravel_index(chosen, weights.shape)
    terms = paired(first, second, i, j, weights[i, j])
    return TermSum(terms, float(log_sum_exp(np, weights.ravel())), lost)


def pair_weights(a: Terms, b: Terms) -> FloatArray:
    """Logarithms of the masses of all products of two terms, shape (K, M)."""
    dim = a.dim
    ndim = max(a.covariances.ndim, b.covariances.ndim)
    c1, c2 = widened(a.covariances, dim, ndim), widened(b.covariances, dim, ndim)
    out = np.empty((len(c1), len(c2)))
    for run in _runs(len(c1), len(c2) * dim ** max(1, ndim - 1)):
        sums = c1[run, None] + c2[None]
        apart = b.means[None] - a.means[run, None]
        if ndim < 3:
            s = sums[..., None] if ndim == 1 else sums
            log_det = np.sum(np.log(s), axis=-1) * (dim // s.shape[-1])
            squares = np.sum(apart * apart / s, axis=-1)
        else:
            solved = np.linalg.solve(np.linalg.cholesky(sums), apart[..., None])[..., 0]
            log_det = np.linalg.slogdet(sums)[1]
            squares = np.sum(solved * solved, axis=-1)
        out[run] = -0.5 * (squares + log_det + dim * np.log(2.0 * np.pi))
    return np.asarray(a.log_weights[:, None] + b.log_weights + out)


def paired(a: Terms, b: Terms, i: np.ndarray, j: np.ndarray, log_weights: FloatArray) -> Terms:
    """Products of the terms ``a[i]`` and ``b[j]``, of the given masses."""
    dim = a.dim
    ndim = max(a.covariances.ndim, b.covariances.ndim)
    c1, c2 = widened(a.covariances, dim, ndim)[i], widened(b.covariances, dim, ndim)[j]
    apart = b.means[j] - a.means[i]
    if ndim < 3:
        share = c1 / (c1 + c2)
        moved = (share[:, None] if ndim == 1 else share) * apart
        return Terms(log_weights, a.means[i] + moved, share * c2)
    gain = np.swapaxes(np.linalg.solve(c1 + c2, c1), 1, 2)  # C_1 S^-1; all are symmetric
    # Joseph's form, a sum of positive matrices: the difference C_1 - C_1 S^-1 C_1 loses digits where C_2 is small.
    rest = np.eye(dim) - gain
    covariances = rest @ c1 @ np.swapaxes(rest, 1, 2) + gain @ c2 @ np.swapaxes(gain, 1, 2)
    return Terms(log_weights, a.means[i] + np.einsum("kij,kj->ki", gain, apart), covariances)


def _runs(length: int, width: int) -> Iterator[slice]:
    size = max(1, PAIRS // width)
    return (slice(start, start + size) for start in range(0, length, size))
