"""Unnormalised Gaussian terms: what every exact target is made of, and how it becomes a mixture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from diffnum.problems._components import log_sum_exp
from diffnum.problems.gaussian import Gaussian
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.product import Mixture1D
from diffnum.types import FloatArray

__all__ = ["Terms", "check_prune", "kept", "matrices", "mixture_of", "normalised", "widened"]


class Terms(NamedTuple):
    """Sum of ``exp(log_weights) N(means, covariances)``; covariances as :class:`GaussianMixture` takes them."""

    log_weights: FloatArray
    means: FloatArray
    covariances: FloatArray


_AS_MIXTURES: Mapping[type, Callable[[Any], GaussianMixture]] = {
    GaussianMixture: lambda problem: problem,
    Gaussian: lambda problem: problem.mixture,
    Mixture1D: lambda problem: GaussianMixture(problem.weights, problem.means[:, None], problem.variances),
}


def mixture_of(problem: Any) -> GaussianMixture:
    """Any of the laws that are Gaussian mixtures, as one.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian or Mixture1D
        The law.

    Returns
    -------
    GaussianMixture

    Raises
    ------
    TypeError
        If it is something else.
    """
    if type(problem) not in _AS_MIXTURES:
        msg = f"problem={problem!r} is no Gaussian mixture: pass a GaussianMixture, a Gaussian or a Mixture1D"
        raise TypeError(msg)
    return _AS_MIXTURES[type(problem)](problem)


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


def normalised(
    terms: Terms, log_evidence: float, labels: Any = None, *, direct: bool | None = None, discarded: float = 0.0
) -> GaussianMixture:
    """Mixture of the terms; those whose weight underflows are left out.

    Raises
    ------
    ValueError
        If no term has any weight: the factors have no common support in float64.
    """
    if not np.isfinite(log_evidence):
        msg = f"log_evidence={log_evidence}: the target has no mass in float64; check the scales of its factors"
        raise ValueError(msg)
    shares = np.exp(terms.log_weights - log_sum_exp(np, terms.log_weights))
    keep = shares > 0.0
    return GaussianMixture(
        shares[keep] / np.sum(shares[keep]),
        terms.means[keep],
        terms.covariances[keep],
        None if labels is None else labels[keep],
        direct,
        log_evidence=log_evidence,
        discarded=discarded,
    )
