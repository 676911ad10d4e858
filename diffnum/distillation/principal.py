r"""Spectral distillation of laws that are no Gaussian fields: one gain a principal axis, and what gains cannot do.

The coefficients of any law along the eigenvectors of its covariance are uncorrelated, and white noise leaves them so.
The best *affine* denoiser therefore multiplies each noisy coefficient by Wiener's gain of its variance ``S_k``, as for
a Gaussian. The best denoiser of a mixture is not affine. What is left of it, ``D - affine``, is uncorrelated with every
noisy coefficient, hence the expected squared distance of any gains is that of a Gaussian field plus a floor that they
do not change (:func:`affine_residual`); and a run with Wiener's gains generates, as its steps become small, the
Gaussian of the same mean and covariance: the peaks of the mixture are lost, whatever the training (Yang et al. 2023,
Slim diffusion, arXiv:2211.17106, trains on such losses by wavelet bands).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.checks import checked_times
from diffnum.distillation.generators import Generator, moments
from diffnum.distillation.quadrature import plane
from diffnum.distillation.spectral import (
    SpectralDistillation,
    generated_spectrum,
    spectral_distillation,
    wiener_gain,
)
from diffnum.problems.targets import mixture_of
from diffnum.types import FloatArray, Schedule

__all__ = ["PrincipalAxes", "affine_residual", "principal_axes", "principal_distillation"]


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """Directions in which coefficients are uncorrelated; made by :func:`principal_axes`.

    Attributes
    ----------
    mean : ndarray, shape (d,)
    axes : ndarray, shape (d, d)
        Orthonormal, a column each.
    spectrum : ndarray, shape (d,)
        Variances along them, the largest first.
    """

    mean: FloatArray
    axes: FloatArray
    spectrum: FloatArray

    def denoised(self, x: FloatArray, gains: FloatArray, alpha: float) -> FloatArray:
        """Affine denoiser with one gain an axis, at states ``x`` of shape (n, d)."""
        return np.asarray(self.mean + ((x - alpha * self.mean) @ self.axes * gains) @ self.axes.T)

    def generated(self, schedule: Schedule, times: Sequence[float], gains: ArrayLike) -> Generator:
        """Law that DDIM makes with such denoisers: a Gaussian.

        Parameters
        ----------
        schedule : Schedule
            Noising process.
        times : sequence of float, length T + 1
            Times of the run, decreasing, the last one included.
        gains : array_like, shape (T, d)
            Gains at all times but the last.

        Returns
        -------
        Generator
            Of one component.
        """
        variances = generated_spectrum(self.spectrum, schedule, times, gains)
        end = float(schedule.alpha(np.asarray(times, dtype=np.float64)[-1]))
        return Generator(end * self.mean[None], (self.axes * np.sqrt(variances))[None])


def principal_axes(problem: Any) -> PrincipalAxes:
    """Mean, eigenvectors and eigenvalues of the covariance of a mixture.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Law of the data.

    Returns
    -------
    PrincipalAxes

    Raises
    ------
    TypeError
        If the problem is no mixture of Gaussians.
    """
    mean, covariance = moments(problem)
    values, vectors = np.linalg.eigh(covariance)
    return PrincipalAxes(mean, vectors[:, ::-1], values[::-1])


def affine_residual(problem: Any, schedule: Schedule, times: ArrayLike) -> FloatArray:
    """Expected squared distance between the best denoiser and the best affine one, along each principal axis.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Law of the data, of dimension 1 or 2.
    schedule : Schedule
        Noising process.
    times : array_like, shape (T,)
        Noise levels.

    Returns
    -------
    ndarray, shape (T, d)
        Zero for a Gaussian, and at both ends of the flow: both denoisers say the mean at its start, the state at its
        end.

    Raises
    ------
    ValueError
        If a time lies outside the domain, or the dimension is above 2.
    """
    nodes, frame, law = checked_times(schedule, times), principal_axes(problem), mixture_of(problem)
    model, rows = law.denoiser(schedule), []
    for t in nodes:
        noisy = law.at(schedule, t)
        rule = plane(noisy)
        gap = np.asarray(model(rule.x, t)) - frame.denoised(
            rule.x, wiener_gain(frame.spectrum, schedule, t), float(schedule.alpha(t))
        )
        rows.append(rule.weight * np.exp(noisy.log_prob(rule.x)) @ (gap @ frame.axes) ** 2)
    return np.stack(rows)


def principal_distillation(
    problem: Any,
    schedule: Schedule,
    times: ArrayLike,
    responses: ArrayLike,
    *,
    weights: ArrayLike | None = None,
) -> SpectralDistillation:
    """Loss of gains along principal axes that follow the best denoiser of a mixture.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Law of the data, of dimension 1 or 2.
    schedule : Schedule
        Noising process.
    times : array_like, shape (T,)
        Noise levels, weighted equally.
    responses : array_like, shape (J, d)
        Gains of what is trained: the identity for one gain an axis, a row of ones for one gain of all.
    weights : array_like, shape (d,), optional
        Weights of the axes; equal to 1 by default, ``1 / spectrum`` for spectral distillation.

    Returns
    -------
    SpectralDistillation
        With ``floor``, what no gains remove.

    Raises
    ------
    ValueError
        If a time lies outside the domain, there is not one entry an axis, or the dimension is above 2.
    """
    nodes = checked_times(schedule, times)
    loss = spectral_distillation(principal_axes(problem).spectrum, schedule, nodes, responses, weights=weights)
    left = affine_residual(problem, schedule, nodes).mean(axis=0)
    share = np.ones_like(left) if weights is None else np.asarray(weights, dtype=np.float64)
    return replace(loss, floor=float(share @ left))
