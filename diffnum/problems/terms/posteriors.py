"""Posteriors of linear measurements with Gaussian noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from diffnum.problems._states import real_array
from diffnum.problems.terms.sums import Terms, TermSum, matrices, widened
from diffnum.types import FloatArray

__all__ = ["posterior_terms"]


def posterior_terms(terms: Terms, A: ArrayLike, y: ArrayLike, noise_std: ArrayLike) -> TermSum:
    """Terms times the density of a measurement; see :func:`diffnum.problems.targets.posterior`.

    Parameters
    ----------
    terms : Terms
        In d dimensions.
    A : array_like, shape (m, d) or (d,)
        Measurement matrix, or the diagonal of a diagonal one.
    y : array_like, shape (m,)
        What was measured.
    noise_std : array_like, shape () or (m,)
        Standard deviation of the noise, > 0.

    Returns
    -------
    TermSum

    Raises
    ------
    ValueError
        If shapes do not fit, or a standard deviation is not positive.
    """
    dim = terms.dim
    matrix, measured = real_array(A, "A", (1, 2)), real_array(y, "y", (1,))
    noise = real_array(noise_std, "noise_std", (0, 1))
    if matrix.shape[-1] != dim:
        msg = f"A has shape {matrix.shape}: it must act on states of dimension {dim}"
        raise ValueError(msg)
    count = dim if matrix.ndim == 1 else len(matrix)
    if measured.shape != (count,):
        hint = "; one measurement alone has A of shape (1, d)" if matrix.ndim == 1 else ""
        msg = f"y has shape {measured.shape}: A of shape {matrix.shape} gives {count} measurements{hint}"
        raise ValueError(msg)
    if noise.shape not in ((), (count,)) or np.any(noise <= 0.0):
        msg = f"noise_std={noise_std!r}: give one standard deviation > 0, or {count} of them"
        raise ValueError(msg)
    noise = np.broadcast_to(noise, (count,))
    constant = -0.5 * count * np.log(2.0 * np.pi) - float(np.sum(np.log(noise)))
    whitened = measured / noise
    if matrix.ndim == 1 and terms.covariances.ndim < 3:
        updated, log_factors = _diagonal(terms, matrix / noise, whitened)
    else:
        full = (np.diag(matrix) if matrix.ndim == 1 else matrix) / noise[:, None]
        if count > dim:
            frame, full = np.linalg.qr(full)
            seen = frame.T @ whitened
            constant -= 0.5 * float(np.sum((whitened - frame @ seen) ** 2))
            whitened = seen
        updated, log_factors = _matrix(terms, full, whitened)
    made = Terms(terms.log_weights + log_factors + constant, *updated)
    return TermSum(made, made.log_mass)


def _diagonal(terms: Terms, factors: FloatArray, y: FloatArray) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Means, covariances and log-factors of the components for a diagonal measurement with noise 1."""
    c = widened(terms.covariances, terms.dim, 2)
    s = 1.0 + factors * factors * c
    residual = y - factors * terms.means
    means = terms.means + c * factors / s * residual
    return (means, c / s), -0.5 * np.sum(residual * residual / s + np.log(s), axis=1)


def _matrix(terms: Terms, matrix: FloatArray, y: FloatArray) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Means, covariances and log-factors of the components for a measurement matrix with noise 1."""
    dim = terms.dim
    c = matrices(terms.covariances, dim)
    across = c @ matrix.T  # (K, d, m)
    s = np.eye(len(matrix)) + matrix @ across
    s = 0.5 * (s + np.swapaxes(s, 1, 2))
    gain = np.swapaxes(np.linalg.solve(s, np.swapaxes(across, 1, 2)), 1, 2)
    residual = y - terms.means @ matrix.T
    rest = np.eye(dim) - gain @ matrix
    covariances = rest @ c @ np.swapaxes(rest, 1, 2) + gain @ np.swapaxes(gain, 1, 2)
    whitened = np.linalg.solve(np.linalg.cholesky(s), residual[..., None])[..., 0]
    log_factors = -0.5 * (np.sum(whitened * whitened, axis=1) + np.linalg.slogdet(s)[1])
    return (terms.means + np.einsum("kij,kj->ki", gain, residual), covariances), log_factors
