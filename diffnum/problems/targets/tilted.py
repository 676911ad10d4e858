"""Gaussian tilts: a law times the exponential of a linear or quadratic reward."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.problems._components import log_sum_exp
from diffnum.problems._states import real_array
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.targets.terms import Terms, matrices, mixture_of, normalised, widened
from diffnum.types import FloatArray

__all__ = ["tilted"]


def tilted(problem: Any, *, slope: ArrayLike = 0.0, curvature: ArrayLike = 0.0) -> GaussianMixture:
    r"""Law proportional to :math:`p(x) \exp(b^T x + \tfrac12 x^T A x)`.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian or Mixture1D
        The law p, in d dimensions.
    slope : array_like, shape () or (d,)
        Gradient b of the reward at the origin (a number stands for all entries), in units of 1/x.
    curvature : array_like, shape (), (d,) or (d, d)
        Hessian A of the reward: a multiple of the identity, a diagonal, or a symmetric matrix, in units of 1/x^2.
        A reward multiplied by a scale has both multiplied by it.

    Returns
    -------
    GaussianMixture
        With the labels of ``problem``; ``log_evidence`` is :math:`\log E_p[e^{r(x)}]`.

    Raises
    ------
    ValueError
        If a shape does not fit, or the tilt is improper: the reward grows faster than the density of some component
        falls (the message tells the largest admissible factor of the curvature).

    Notes
    -----
    Component by component, with :math:`g = b + A m`: covariance :math:`C' = (C^{-1} - A)^{-1}`, mean :math:`m + C' g`,
    and the factor of its weight :math:`e^{r(m) + g^T C' g / 2} \det(1 - C A)^{-1/2}`. The inverse is formed from the
    eigenvalues of :math:`L^T A L` with :math:`C = L L^T`, so that nearly singular covariances lose nothing.
    """
    mixture = mixture_of(problem)
    dim = mixture.dim
    b = real_array(slope, "slope", (0, 1))
    if b.shape not in ((), (dim,)):
        msg = f"slope has shape {b.shape}: give a number, or the {dim} entries of a gradient"
        raise ValueError(msg)
    curved = _symmetric(real_array(curvature, "curvature", (0, 1, 2)), dim)
    covariances, log_det = _sharpened(mixture.covariances, curved, dim)
    means = mixture.means
    bent = means @ curved if curved.ndim == 2 else curved * means
    gradient = b + bent
    shift = _applied(covariances, gradient)
    value = np.sum((b + 0.5 * bent) * means, axis=1)
    log_weights = mixture.core.log_weights + value + 0.5 * np.sum(gradient * shift, axis=1) - 0.5 * log_det
    terms = Terms(log_weights, means + shift, covariances)
    return normalised(terms, float(log_sum_exp(np, log_weights)), mixture.labels, direct=mixture.direct)


def _symmetric(curvature: FloatArray, dim: int) -> FloatArray:
    if curvature.shape not in ((), (dim,), (dim, dim)):
        msg = f"curvature has shape {curvature.shape}: give a number, a diagonal ({dim},) or a matrix ({dim}, {dim})"
        raise ValueError(msg)
    if curvature.ndim < 2:
        return curvature
    skew = float(np.max(np.abs(curvature - curvature.T)))
    if skew > 1e-10 * float(np.max(np.abs(curvature))):
        msg = f"curvature differs from its transpose by {skew:.3g}: pass (A + A^T) / 2"
        raise ValueError(msg)
    return np.asarray(0.5 * (curvature + curvature.T))


def _sharpened(covariances: FloatArray, curved: FloatArray, dim: int) -> tuple[FloatArray, FloatArray]:
    """Covariances ``(C^-1 - A)^-1`` and the logarithms of ``det(1 - C A)``, shape (K,)."""
    if curved.ndim < 2 and covariances.ndim < 3:
        covariances = widened(covariances, dim, 1 + curved.ndim)
        shares = covariances * curved
        left = _left(shares.reshape(len(shares), -1))
        repeats = 1 if covariances.ndim == 2 else dim
        return covariances / left.reshape(covariances.shape), repeats * np.sum(np.log(left), axis=1)
    root = np.linalg.cholesky(matrices(covariances, dim))
    matrix = curved if curved.ndim == 2 else curved * np.eye(dim)
    shares, frames = np.linalg.eigh(np.swapaxes(root, 1, 2) @ matrix @ root)
    left = _left(shares)
    factor = (root @ frames) / np.sqrt(left)[:, None, :]
    return factor @ np.swapaxes(factor, 1, 2), np.sum(np.log(left), axis=1)


def _left(shares: FloatArray) -> FloatArray:
    """Shares of the precision that are left, ``1 - eigenvalues of C A``, shape (K, d), if they are positive."""
    largest = np.max(shares, axis=1)
    k = int(np.argmax(largest))
    if not largest[k] < 1.0:
        msg = (
            f"curvature is improper: of component {k} it takes {largest[k]:.6g} times the precision, and the tilted "
            f"density has no integral; multiply the reward by less than {1.0 / largest[k]:.6g}"
        )
        raise ValueError(msg)
    return 1.0 - shares


def _applied(covariances: FloatArray, vectors: FloatArray) -> FloatArray:
    """Covariances times one vector each, shape (K, d)."""
    if covariances.ndim == 3:
        return np.asarray(np.einsum("kij,kj->ki", covariances, vectors))
    return np.asarray((covariances if covariances.ndim == 2 else covariances[:, None]) * vectors)
