r"""Learning from observations only: which part of the law of the data they determine.

Diffusion with forward models (Tewari et al. 2023, arXiv:2306.11719) trains on observations ``y = A x`` with operators
A of known law, and never sees x. For Gaussian data of covariance C each operator tells ``A C A^T`` and nothing else: a
change of C in the common kernel of these maps moves no observation, and no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import null_space

from diffnum.problems._states import real_array
from diffnum.types import FloatArray

__all__ = ["ObservationLoss", "observation_loss", "undetermined"]


@dataclass(frozen=True, eq=False)
class ObservationLoss:
    """Sum over operators of KL(observations of the data || of the student); made by :func:`observation_loss`.

    Parameters
    ----------
    covariance : ndarray, shape (d, d)
        Of the data.
    operators : tuple of ndarray, shape (m, d)
        What is observed of each datum.
    noise : float
        Standard deviation of the observation noise, > 0.
    """

    covariance: FloatArray
    operators: tuple[FloatArray, ...]
    noise: float

    def value(self, student: FloatArray) -> float:
        """Loss of a student's covariance, shape (d, d)."""
        total = 0.0
        for a in self.operators:
            truth, guess = self._seen(a, self.covariance), self._seen(a, student)
            quotient = np.linalg.solve(guess, truth)
            total += 0.5 * float(np.trace(quotient) - len(truth) - np.linalg.slogdet(quotient)[1])
        return total

    def gradient(self, student: FloatArray) -> FloatArray:
        """Derivative of :meth:`value` with respect to the student's covariance, symmetric, shape (d, d)."""
        total = np.zeros_like(self.covariance)
        for a in self.operators:
            truth, guess = self._seen(a, self.covariance), self._seen(a, student)
            inverse = np.linalg.inv(guess)
            total += 0.5 * a.T @ (inverse - inverse @ truth @ inverse) @ a
        return total

    def _seen(self, a: FloatArray, covariance: FloatArray) -> FloatArray:
        return np.asarray(a @ covariance @ a.T + self.noise**2 * np.eye(len(a)))


def observation_loss(covariance: ArrayLike, operators: Sequence[ArrayLike], noise: float) -> ObservationLoss:
    """Loss of a Gaussian model that is compared with Gaussian data through operators only.

    Parameters
    ----------
    covariance : array_like, shape (d, d)
        Of the data.
    operators : sequence of array_like, shape (m, d)
        What is observed of each datum.
    noise : float
        Standard deviation of the observation noise, positive.

    Returns
    -------
    ObservationLoss

    Raises
    ------
    ValueError
        If the noise is not positive, or the operators differ in width.
    """
    if not noise > 0.0:
        msg = f"noise={noise!r}: use a positive standard deviation"
        raise ValueError(msg)
    c, matrices = real_array(covariance, "covariance", (2,)), _operators(operators)
    if c.shape[0] != c.shape[1] or c.shape[1] != matrices[0].shape[1]:
        msg = f"covariance has shape {c.shape}, operators have {matrices[0].shape[1]} columns: use (d, d) and d columns"
        raise ValueError(msg)
    if not np.allclose(c, c.T) or np.linalg.eigvalsh(c)[0] < -1e-10 * np.abs(c).max():
        msg = f"covariance={c.tolist()} is none: use a symmetric matrix without negative eigenvalues"
        raise ValueError(msg)
    return ObservationLoss(c, matrices, float(noise))


def undetermined(operators: Sequence[ArrayLike]) -> FloatArray:
    """Symmetric matrices that no observation sees: an orthonormal basis; empty where all is determined.

    Parameters
    ----------
    operators : sequence of array_like, shape (m, d)
        What is observed of each datum.

    Returns
    -------
    ndarray, shape (k, d, d)
    """
    matrices = _operators(operators)
    d = matrices[0].shape[1]
    rows, columns = np.triu_indices(d)
    basis = np.zeros((len(rows), d, d))
    scale = np.where(rows == columns, 1.0, np.sqrt(0.5))
    basis[np.arange(len(rows)), rows, columns] = scale
    basis[np.arange(len(rows)), columns, rows] = scale
    seen = np.concatenate([np.stack([(a @ b @ a.T).ravel() for b in basis], axis=1) for a in matrices])
    return np.asarray(np.einsum("jk,jab->kab", null_space(seen, rcond=1e-10), basis))


def _operators(operators: Sequence[ArrayLike]) -> tuple[FloatArray, ...]:
    matrices = tuple(real_array(a, f"operators[{i}]", (2,)) for i, a in enumerate(operators))
    if not matrices or len({a.shape[1] for a in matrices}) != 1:
        msg = (
            f"operators has {len(matrices)} matrices of {sorted({a.shape[1] for a in matrices})} columns: use one width"
        )
        raise ValueError(msg)
    return matrices
