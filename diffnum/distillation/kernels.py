r"""Maximum mean discrepancy between a one-step student and a mixture, in closed form.

``MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)``. For the Gaussian kernel and Gaussian components each expectation is
``det(I + 2 gamma S)^{-1/2} exp(-gamma m^T (I + 2 gamma S)^{-1} m)`` with the difference of means and the sum of
covariances; for the polynomial kernel ``(gamma x.y + c)^n`` it is a sum over moments, and with n = 1 it is
``gamma |E x - E y|^2``: means are matched and nothing else. That is what the code of MMD-DDM ships as its default
(diegovalsesia/MMD-DDM at 2874edf8, functions/losses.py: KID has ``degree=1``, where its docstring says 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum.distillation.checks import checked_student
from diffnum.distillation.generators import Generator
from diffnum.problems import GaussianMixture
from diffnum.problems.targets import mixture_of
from diffnum.problems.terms.sums import matrices
from diffnum.types import FloatArray

__all__ = ["GaussianKernelLoss", "PolynomialKernelLoss", "gaussian_kernel_loss", "polynomial_kernel_loss"]


@dataclass(frozen=True, eq=False)
class GaussianKernelLoss:
    """Squared MMD with kernel ``exp(-gamma |x - y|^2)``; made by :func:`gaussian_kernel_loss`.

    Parameters
    ----------
    target : GaussianMixture
        Data distribution.
    gamma : float
        Inverse squared width.
    """

    target: GaussianMixture
    gamma: float

    def value(self, student: Generator) -> float:
        """Squared discrepancy, not negative."""
        checked_student(student, self.target.dim)
        own = student.means, student.factors @ np.swapaxes(student.factors, 1, 2), student.weights
        goal = self.target.means, matrices(self.target.covariances, self.target.dim), self.target.weights
        pairs = ((own, own, 1.0), (goal, goal, 1.0), (own, goal, -2.0))
        return float(sum(sign * np.sum(self._terms(a, b)[0]) for a, b, sign in pairs))

    def gradient(self, student: Generator) -> FloatArray:
        """Derivative of :meth:`value`, shape of ``student.parameters``."""
        checked_student(student, self.target.dim)
        covariances = student.factors @ np.swapaxes(student.factors, 1, 2)
        own = student.means, covariances, student.weights
        goal = self.target.means, matrices(self.target.covariances, self.target.dim), self.target.weights
        means, spreads = np.zeros_like(student.means), np.zeros_like(covariances)
        for other in (own, goal):
            terms, gap, inverse = self._terms(own, other)
            sign = 2.0 if other is own else -2.0  # the pair of a student with itself occurs twice
            turned = np.einsum("klij,klj->kli", inverse, gap)
            means += sign * np.einsum("kl,kli->ki", terms, -2.0 * self.gamma * turned)
            outer = turned[..., :, None] * turned[..., None, :]
            spreads += sign * np.einsum("kl,klij->kij", terms, 2.0 * self.gamma**2 * outer - self.gamma * inverse)
        factors = 2.0 * spreads @ student.factors
        return np.concatenate([means.ravel(), factors.ravel()])

    def _terms(
        self, first: tuple[FloatArray, FloatArray, FloatArray], second: tuple[FloatArray, FloatArray, FloatArray]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weighted expectations of all pairs of components, gaps of means and inverses of ``I + 2 gamma S``."""
        gap = first[0][:, None, :] - second[0][None, :, :]
        widened = np.eye(gap.shape[-1]) + 2.0 * self.gamma * (first[1][:, None] + second[1][None])
        inverse = np.asarray(np.linalg.inv(widened), dtype=np.float64)
        square = np.einsum("kli,klij,klj->kl", gap, inverse, gap)
        share = first[2][:, None] * second[2][None, :]
        terms = share * np.exp(-self.gamma * square) / np.sqrt(np.linalg.det(widened))
        return terms, gap, inverse


@dataclass(frozen=True, eq=False)
class PolynomialKernelLoss:
    """Squared MMD with kernel ``(gamma x.y + offset)^degree``; made by :func:`polynomial_kernel_loss`.

    Parameters
    ----------
    target : GaussianMixture
        Data distribution.
    degree : int
        Power, at least 1.
    gamma, offset : float
        Factor of the inner product, and what is added to it.
    """

    target: GaussianMixture
    degree: int
    gamma: float
    offset: float

    def value(self, student: Generator) -> float:
        """Squared discrepancy: of means, and with degree 2 of second moments too."""
        mean, second = _moments(checked_student(student, self.target.dim))
        goal_mean, goal_second = _mixture_moments(self.target)
        shift = mean - goal_mean
        linear = self.gamma * float(shift @ shift)
        if self.degree == 1:
            return linear
        return 2.0 * self.offset * linear + self.gamma**2 * float(np.sum((second - goal_second) ** 2))

    def gradient(self, student: Generator) -> FloatArray:
        """Derivative of :meth:`value`, shape of ``student.parameters``; of factors it is zero with degree 1."""
        mean, second = _moments(checked_student(student, self.target.dim))
        goal_mean, goal_second = _mixture_moments(self.target)
        outer = 2.0 * self.gamma * (1.0 if self.degree == 1 else 2.0 * self.offset) * (mean - goal_mean)
        means = student.weights[:, None] * outer
        factors = np.zeros_like(student.factors)
        if self.degree == 2:
            pull = 4.0 * self.gamma**2 * (second - goal_second)
            means = means + student.weights[:, None] * (student.means @ pull)
            factors = student.weights[:, None, None] * (pull @ student.factors)
        return np.concatenate([means.ravel(), factors.ravel()])


def _moments(student: Generator) -> tuple[FloatArray, FloatArray]:
    spread = student.factors @ np.swapaxes(student.factors, 1, 2)
    outer = student.means[:, :, None] * student.means[:, None, :]
    return student.weights @ student.means, np.einsum("k,kij->ij", student.weights, spread + outer)


def _mixture_moments(law: GaussianMixture) -> tuple[FloatArray, FloatArray]:
    outer = law.means[:, :, None] * law.means[:, None, :]
    return law.weights @ law.means, np.einsum("k,kij->ij", law.weights, matrices(law.covariances, law.dim) + outer)


def gaussian_kernel_loss(problem: Any, gamma: float | None = None) -> GaussianKernelLoss:
    """Squared MMD to a mixture with the Gaussian kernel, in closed form in any dimension.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Data distribution; the features are the coordinates.
    gamma : float, optional
        Inverse squared width; ``1/d`` by default, as in the code of MMD-DDM.

    Returns
    -------
    GaussianKernelLoss
    """
    target = mixture_of(problem)
    return GaussianKernelLoss(target, _checked(1.0 / target.dim if gamma is None else gamma))


def polynomial_kernel_loss(
    problem: Any, degree: int = 1, gamma: float | None = None, offset: float = 1.0
) -> PolynomialKernelLoss:
    """Squared MMD to a mixture with a polynomial kernel.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Data distribution; the features are the coordinates.
    degree : {1, 2}
        Degree; 1 is the default of MMD-DDM's code.
    gamma : float, optional
        Factor of the inner product; ``1/d`` by default.
    offset : float
        Constant in the kernel.

    Returns
    -------
    PolynomialKernelLoss

    Raises
    ------
    ValueError
        If the degree is neither 1 nor 2, or the offset negative: the kernel would be no kernel.
    """
    if degree not in (1, 2):
        msg = f"degree={degree!r}: closed forms are for degrees 1 and 2: use one of these, or the Gaussian kernel"
        raise ValueError(msg)
    if not (np.isfinite(offset) and offset >= 0.0):
        msg = f"offset={offset!r}: use a finite number, 0 or more, as positive definite kernels have"
        raise ValueError(msg)
    target = mixture_of(problem)
    return PolynomialKernelLoss(target, degree, _checked(1.0 / target.dim if gamma is None else gamma), float(offset))


def _checked(gamma: float) -> float:
    if not (np.isfinite(gamma) and gamma > 0.0):
        msg = f"gamma={gamma!r}: the kernel needs a width: use a positive number"
        raise ValueError(msg)
    return float(gamma)
