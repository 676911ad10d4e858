"""Targets that are mixtures again; their arithmetic is in :mod:`diffnum.problems.terms`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from diffnum.problems.mixture import GaussianMixture, mixture_from, mixture_of
from diffnum.problems.terms import product_terms

__all__ = ["posterior", "power", "product", "restricted", "tilted"]


def tilted(problem: Any, *, slope: ArrayLike = 0.0, curvature: ArrayLike = 0.0) -> GaussianMixture:
    r"""Law proportional to :math:`p(x) \exp(b^T x + \tfrac12 x^T A x)`.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian, Mixture1D or RotatedProduct
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
    return mixture_of(problem).tilted(slope=slope, curvature=curvature)


def power(problem: Any, exponent: int, *, prune: float = 0.0) -> GaussianMixture:
    r"""Law proportional to :math:`p(x)^n`, for an integer :math:`n \ge 1`.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian, Mixture1D or RotatedProduct
        The law p, with K components.
    exponent : int
        The power n, at least 1. (A float that is a whole number is taken.)
    prune : float
        Share of the mass that may be left out after each multiplication, 0 to 1; of the :math:`\binom{K+n-1}{n}`
        Gaussians the lightest ones go. ``discarded`` of the result bounds its distance in total variation from the
        whole power, and the relative error of the evidence.

    Returns
    -------
    GaussianMixture
        ``log_evidence`` is :math:`\log \int p^n`; there are no labels.

    Raises
    ------
    ValueError
        If ``exponent`` is no integer from 1 up: other powers of mixtures are no mixtures.

    Notes
    -----
    Multisets grow by one component at a time, of the same number or a later one, and a multiset of n with the new
    component r times in it has n/r times as many orders as before. What a pruned multiset would have become is at
    most its mass times :math:`\sup p` and the growth of that number, for each multiplication that is left.
    """
    return mixture_of(problem).power(exponent, prune=prune)


def product(first: Any, second: Any, *, prune: float = 0.0) -> GaussianMixture:
    r"""Law proportional to :math:`p(x)\, q(x)`.

    Parameters
    ----------
    first, second : GaussianMixture, Gaussian, Mixture1D or RotatedProduct
        Laws of one dimension d, with K and M components.
    prune : float
        Share of the mass that may be left out, 0 to 1: of the K M pairs the lightest ones go. The result is then
        within ``discarded``, at most ``prune``, of the whole one in total variation; ``log_evidence`` is of all pairs.

    Returns
    -------
    GaussianMixture
        ``log_evidence`` is :math:`\log \int p q`; there are no labels.

    Raises
    ------
    ValueError
        If the dimensions differ, or ``prune`` is no share.

    Notes
    -----
    :math:`N(m_1, C_1) N(m_2, C_2) = N(m_1; m_2, S)\, N(m_1 + C_1 S^{-1} (m_2 - m_1), C_1 S^{-1} C_2)` with
    :math:`S = C_1 + C_2`: only differences of means enter, so that nothing cancels far from the origin.
    """
    return mixture_from(product_terms(mixture_of(first).terms, mixture_of(second).terms, prune))


def posterior(problem: Any, A: ArrayLike, y: ArrayLike, noise_std: ArrayLike) -> GaussianMixture:
    r"""Law of x given a measurement :math:`Y = A x + \text{noise}`.

    Parameters
    ----------
    problem : GaussianMixture, Gaussian, Mixture1D or RotatedProduct
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
        With the labels of ``problem``; ``log_evidence`` is :math:`\log p(Y)`.

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
    return mixture_of(problem).posterior(A, y, noise_std)


def restricted(problem: Any, labels: int | Iterable[int]) -> GaussianMixture:
    """Law of the components of some classes.

    Parameters
    ----------
    problem : GaussianMixture
        A law with labels.
    labels : int or iterable of int
        Class, or classes.

    Returns
    -------
    GaussianMixture
        ``log_evidence`` is the logarithm of the probability of these classes.

    Raises
    ------
    ValueError
        If the mixture has no labels, one of ``labels`` is not among them, or all of them have weight zero.
    """
    return mixture_of(problem).restricted(labels)
