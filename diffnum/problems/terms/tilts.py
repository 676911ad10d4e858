"""Gaussian tilts: terms times the exponential of a linear or quadratic reward."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from diffnum.problems._states import real_array
from diffnum.problems.terms.sums import Terms, TermSum, matrices, widened
from diffnum.types import FloatArray

__all__ = ["tilted_terms"]


def tilted_terms(terms: Terms, slope: ArrayLike, curvature: ArrayLike) -> TermSum:
    """Terms times ``exp(slope . x + x . curvature x / 2)``; see :func:`diffnum.problems.targets.tilted`.

    Parameters
    ----------
    terms : Terms
        In d dimensions.
    slope : array_like, shape () or (d,)
        Gradient of the exponent at the origin.
    curvature : array_like, shape (), (d,) or (d, d)
        Hessian of the exponent.

    Returns
    -------
    TermSum

    Raises
    ------
    ValueError
        If a shape does not fit, or some term times the exponential has no integral.
    """
    dim = terms.dim
    b = real_array(slope, "slope", (0, 1))
    if b.shape not in ((), (dim,)):
        msg = f"slope has shape {b.shape}: give a number, or the {dim} entries of a gradient"
        raise ValueError(msg)
    curved = _symmetric(real_array(curvature, "curvature", (0, 1, 2)), dim)
    covariances, log_det = _sharpened(terms.covariances, curved, dim)
    means = terms.means
    bent = means @ curved if curved.ndim == 2 else curved * means
    gradient = b + bent
    shift = _applied(covariances, gradient)
    value = np.sum((b + 0.5 * bent) * means, axis=1)
    log_weights = terms.log_weights + value + 0.5 * np.sum(gradient * shift, axis=1) - 0.5 * log_det
    made = Terms(log_weights, means + shift, covariances)
    return TermSum(made, made.log_mass)


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
