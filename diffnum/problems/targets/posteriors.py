"""Posteriors of linear measurements with Gaussian noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.problems._components import log_sum_exp
from diffnum.problems._states import real_array
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.targets.terms import Terms, matrices, mixture_of, normalised, widened
from diffnum.types import FloatArray

__all__ = ["posterior"]


def posterior(problem: Any, A: ArrayLike, y: ArrayLike, noise_std: ArrayLike) -> GaussianMixture:
    r"""Law of x given a measurement :math:`y = A x + \text{noise}`.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian or Mixture1D
        The prior, in d dimensions.
    A : array_like, shape (m, d) or (d,)
        Measurement matrix, or the diagonal of a diagonal one (a mask).
    y : array_like, shape (m,)
        What was measured; shape (d,) for a diagonal.
    noise_std : array_like, shape () or (m,)
        Standard deviation of the noise, > 0, one for all measurements or one each.

    Returns
    -------
    GaussianMixture
        With the labels of ``problem``; ``log_evidence`` is :math:`\log p(y)`.

    Raises
    ------
    ValueError
        If shapes do not fit, or a standard deviation is not positive.

    Notes
    -----
    The measurements are divided by their noise, more of them than unknowns are first reduced by an orthogonal
    transformation, and each component is updated in the form of Kalman and Joseph, whose covariance is a sum of
    positive matrices however precise the measurement is.
    """
    mixture = mixture_of(problem)
    dim = mixture.dim
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
    if matrix.ndim == 1 and mixture.covariances.ndim < 3:
        updated, log_factors = _diagonal(mixture, matrix / noise, whitened)
    else:
        full = (np.diag(matrix) if matrix.ndim == 1 else matrix) / noise[:, None]
        if count > dim:
            frame, full = np.linalg.qr(full)
            seen = frame.T @ whitened
            constant -= 0.5 * float(np.sum((whitened - frame @ seen) ** 2))
            whitened = seen
        updated, log_factors = _matrix(mixture, full, whitened)
    log_weights = mixture.core.log_weights + log_factors + constant
    terms = Terms(log_weights, *updated)
    return normalised(terms, float(log_sum_exp(np, log_weights)), mixture.labels, direct=mixture.direct)


def _diagonal(
    mixture: GaussianMixture, factors: FloatArray, y: FloatArray
) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Means, covariances and log-factors of the components for a diagonal measurement with noise 1."""
    c = widened(mixture.covariances, mixture.dim, 2)
    s = 1.0 + factors * factors * c
    residual = y - factors * mixture.means
    means = mixture.means + c * factors / s * residual
    return (means, c / s), -0.5 * np.sum(residual * residual / s + np.log(s), axis=1)


def _matrix(
    mixture: GaussianMixture, matrix: FloatArray, y: FloatArray
) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Means, covariances and log-factors of the components for a measurement matrix with noise 1."""
    dim = mixture.dim
    c = matrices(mixture.covariances, dim)
    across = c @ matrix.T  # (K, d, m)
    s = np.eye(len(matrix)) + matrix @ across
    s = 0.5 * (s + np.swapaxes(s, 1, 2))
    gain = np.swapaxes(np.linalg.solve(s, np.swapaxes(across, 1, 2)), 1, 2)
    residual = y - mixture.means @ matrix.T
    rest = np.eye(dim) - gain @ matrix
    covariances = rest @ c @ np.swapaxes(rest, 1, 2) + gain @ np.swapaxes(gain, 1, 2)
    whitened = np.linalg.solve(np.linalg.cholesky(s), residual[..., None])[..., 0]
    log_factors = -0.5 * (np.sum(whitened * whitened, axis=1) + np.linalg.slogdet(s)[1])
    return (mixture.means + np.einsum("kij,kj->ki", gain, residual), covariances), log_factors
