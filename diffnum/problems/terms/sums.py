"""Unnormalised Gaussian terms, their sum, and which of them count."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diffnum.problems._components import log_sum_exp
from diffnum.types import FloatArray

__all__ = ["TermSum", "Terms", "check_prune", "kept", "matrices", "shares_of", "widened"]


class Terms(NamedTuple):
    """The functions ``exp(log_weights) N(means, covariances)``.

    Parameters
    ----------
    log_weights : ndarray, shape (K,)
        Natural logarithms of the masses.
    means : ndarray, shape (K, d)
        Means.
    covariances : ndarray, shape (K, d, d), (K, d) or (K,)
        Matrices, diagonals, or one variance each.
    """

    log_weights: FloatArray
    means: FloatArray
    covariances: FloatArray

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.means.shape[1])

    @property
    def log_mass(self) -> float:
        """Natural logarithm of the integral of the sum."""
        return float(log_sum_exp(np, self.log_weights))

    @property
    def log_peak(self) -> float:
        """Natural logarithm of the sum of the maxima of the terms, which bounds their sum."""
        if self.covariances.ndim == 3:
            log_det = np.linalg.slogdet(2.0 * np.pi * self.covariances)[1]
        else:
            log_det = np.sum(np.log(2.0 * np.pi * widened(self.covariances, self.dim, 2)), axis=1)
        return float(log_sum_exp(np, self.log_weights - 0.5 * log_det))


class TermSum(NamedTuple):
    """A density that is a sum of terms but for its normalising constant.

    Parameters
    ----------
    terms : Terms
        The terms, those left out excepted.
    log_evidence : float
        Natural logarithm of the integral of the whole.
    discarded : float
        Largest distance in total variation of the normalised terms from the whole.
    """

    terms: Terms
    log_evidence: float
    discarded: float = 0.0


def widened(covariances: FloatArray, dim: int, ndim: int) -> FloatArray:
    """Covariances in a form with at least ``ndim`` axes: (K,), (K, d) or (K, d, d)."""
    if covariances.ndim == 1 and ndim > 1:
        covariances = np.repeat(covariances[:, None], dim, axis=1)
    if covariances.ndim == 2 and ndim > 2:
        return covariances[:, :, None] * np.eye(dim)
    return covariances


def matrices(covariances: FloatArray, dim: int) -> FloatArray:
    """Covariances as matrices, shape (K, d, d)."""
    return widened(covariances, dim, 3)


def check_prune(prune: float) -> float:
    """Return the share of the mass that may be left out, if it is one."""
    if not 0.0 <= prune < 1.0:
        msg = f"prune={prune!r} is no share of the mass: give 0 (keep all) or a small number, such as 1e-12"
        raise ValueError(msg)
    return float(prune)


def kept(log_weights: FloatArray, prune: float) -> tuple[np.ndarray, float]:
    """Indices of terms that hold all but ``prune`` of the mass, in their order, and the share that is left out.

    Parameters
    ----------
    log_weights : ndarray, shape (K,)
        Natural logarithms, not normalised.
    prune : float
        Largest share that may be left out; terms whose weight is not a positive float64 always are.

    Returns
    -------
    ndarray of int, float
    """
    shares = np.exp(log_weights - np.max(log_weights))
    shares = shares / np.sum(shares)
    order = np.argsort(shares, kind="stable")
    tail = np.cumsum(shares[order])
    dropped = order[(tail <= prune) | (shares[order] == 0.0)]
    keep = np.ones(len(shares), dtype=bool)
    keep[dropped] = False
    return np.flatnonzero(keep), float(np.sum(shares[dropped]))


def shares_of(found: TermSum) -> tuple[FloatArray, np.ndarray]:
    """Probabilities of the terms whose weight does not underflow, and which of all terms they are, shape (K,).

    Parameters
    ----------
    found : TermSum
        K terms.

    Returns
    -------
    shares : ndarray
        Probabilities of those that are kept; they sum to 1.
    keep : ndarray of bool, shape (K,)

    Raises
    ------
    ValueError
        If no term has any weight: the factors have no common support in float64.
    """
    if not np.isfinite(found.log_evidence):
        msg = f"log_evidence={found.log_evidence}: the target has no mass in float64; check the scales of its factors"
        raise ValueError(msg)
    shares = np.exp(found.terms.log_weights - log_sum_exp(np, found.terms.log_weights))
    keep = shares > 0.0
    return shares[keep] / np.sum(shares[keep]), keep
