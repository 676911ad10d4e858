r"""Learning from observations only: which part of the law of the data they determine.

Diffusion with forward models (Tewari et al. 2023, arXiv:2306.11719) trains on observations ``y = A x`` with operators
A of known law, and never sees x. Of data of covariance C each operator tells an affine student ``A C A^T`` and nothing
else: a change of C in the common kernel of these maps moves no observation, and no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import null_space

from diffnum.distillation.checks import checked_student
from diffnum.distillation.generators import Generator, moments
from diffnum.problems._states import real_array
from diffnum.types import FloatArray

__all__ = ["ObservationLoss", "observation_loss", "undetermined"]


@dataclass(frozen=True, eq=False)
class ObservationLoss:
    """Sum over operators of KL(observations of the data || of an affine student); made by :func:`observation_loss`.

    Parameters
    ----------
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)
        Of the data.
    operators : tuple of ndarray, shape (m, d)
        What is observed of each datum.
    noise : float
        Standard deviation of the observation noise, > 0.
    """

    mean: FloatArray
    covariance: FloatArray
    operators: tuple[FloatArray, ...]
    noise: float

    def value(self, student: Generator) -> float:
        """Loss of an affine student: zero where all observations agree."""
        total, own = 0.0, self._covariance(student)
        for a in self.operators:
            truth, guess = self._seen(a, self.covariance), self._seen(a, own)
            away = a @ (student.means[0] - self.mean)
            quotient = np.linalg.solve(guess, truth)
            total += 0.5 * float(np.trace(quotient) - len(truth) - np.linalg.slogdet(quotient)[1])
            total += 0.5 * float(away @ np.linalg.solve(guess, away))
        return total

    def gradient(self, student: Generator) -> FloatArray:
        """Derivative of :meth:`value`, shape of ``student.parameters``."""
        own, mean, covariance = self._covariance(student), np.zeros_like(self.mean), np.zeros_like(self.covariance)
        for a in self.operators:
            truth, guess = self._seen(a, self.covariance), self._seen(a, own)
            away = a @ (student.means[0] - self.mean)
            inverse = np.linalg.inv(guess)
            mean += a.T @ inverse @ away
            covariance += 0.5 * a.T @ (inverse - inverse @ (truth + np.outer(away, away)) @ inverse) @ a
        return np.concatenate([mean, (2.0 * covariance @ student.factors[0]).ravel()])

    def _covariance(self, student: Generator) -> FloatArray:
        factor = checked_student(student, len(self.mean), affine=True).factors[0]
        return np.asarray(factor @ factor.T)

    def _seen(self, a: FloatArray, covariance: FloatArray) -> FloatArray:
        return np.asarray(a @ covariance @ a.T + self.noise**2 * np.eye(len(a)))


def observation_loss(problem: Any, operators: Sequence[ArrayLike], noise: float) -> ObservationLoss:
    """Loss of an affine student that is compared with data through operators only.

    For Gaussian data it is the KL divergence of observations; for others the same up to a constant, since a Gaussian
    model sees of the data their mean and covariance.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Data distribution.
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
        If the noise is not positive, or the operators differ in width or do not fit the data.
    """
    if not noise > 0.0:
        msg = f"noise={noise!r}: use a positive standard deviation"
        raise ValueError(msg)
    (mean, covariance), matrices = moments(problem), _operators(operators)
    if len(mean) != matrices[0].shape[1]:
        msg = f"problem has dimension {len(mean)}, operators have {matrices[0].shape[1]} columns: use as many"
        raise ValueError(msg)
    return ObservationLoss(mean, covariance, matrices, float(noise))


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
