r"""Distribution matching distillation as its code runs it: fake scores that lag, and a normaliser for each sample.

The gradient is ``E[(D_q - D_p)(x_t) dx/dtheta]`` with the denoisers of student and data: that of the reverse KL
divergence with weight ``sigma^2/alpha^2``. In practice D_q is that of an *earlier* student, by as much as the critic
lags. And the code of DMD2 divides every sample's gradient by ``mean |x - D_p(x_t)|`` over its pixels (tianweiy/DMD2 at
4e54501c, main/edm/edm_guidance.py, compute_distribution_matching_loss). What comes out is not the gradient of that
divergence, though it still vanishes where the laws agree; with a single pixel it has no expectation at all, since
1/|u| has no integral around 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from diffnum.distillation.checks import checked_student, checked_times
from diffnum.distillation.divergences import score_of
from diffnum.distillation.generators import Generator
from diffnum.distillation.quadrature import plane
from diffnum.problems import GaussianMixture
from diffnum.problems.targets import mixture_of
from diffnum.types import FloatArray, Schedule

__all__ = ["DistributionMatching", "DrawnGradient", "distribution_matching"]


class DrawnGradient(NamedTuple):
    """Gradient estimated from draws.

    Parameters
    ----------
    mean : ndarray
        Shape of ``student.parameters``.
    error : ndarray
        Standard error of each entry.
    """

    mean: FloatArray
    error: FloatArray


@dataclass(frozen=True, eq=False)
class DistributionMatching:
    """Gradients of DMD; made by :func:`distribution_matching`.

    Attributes
    ----------
    problem : object
        Data distribution.
    schedule : Schedule
    times : tuple of float
        Noise levels, weighted equally.
    """

    problem: Any
    schedule: Schedule
    times: tuple[float, ...]

    def gradient(self, student: Generator, fake: Generator | None = None) -> FloatArray:
        """Exact expected gradient in one or two dimensions, shape of ``student.parameters``.

        Parameters
        ----------
        student : Generator
            The student.
        fake : Generator, optional
            Whose score the critic has learnt; the student's own by default.

        Returns
        -------
        ndarray
        """
        total = np.zeros_like(checked_student(student, mixture_of(self.problem).dim).parameters)
        for alpha, sigma, data, critic in self._levelled(student if fake is None else fake):
            nodes = plane(data, critic, student.noisy(alpha, sigma))
            pull = (sigma / alpha) ** 2 * (score_of(critic, nodes.x) - score_of(data, nodes.x))
            total += student.pathwise(nodes, pull, alpha, sigma)
        return total / len(self.times)

    def as_shipped(
        self, student: Generator, fake: Generator | None = None, *, draws: int = 20_000, seed: int = 0
    ) -> DrawnGradient:
        """Gradient with the code's normaliser, from draws, in two dimensions or more.

        Parameters
        ----------
        student, fake : Generator
            As for :meth:`gradient`.
        draws : int
            Samples a noise level.
        seed : int
            Of the draws.

        Returns
        -------
        DrawnGradient

        Raises
        ------
        ValueError
            In one dimension, where the expectation does not exist.
        """
        if checked_student(student, mixture_of(self.problem).dim).dim == 1:
            msg = "student has dimension 1, where the normalised gradient has no expectation: use two pixels or more"
            raise ValueError(msg)
        rng = np.random.default_rng(seed)
        rows = []
        for alpha, sigma, data, critic in self._levelled(student if fake is None else fake):
            chosen = rng.choice(len(student.weights), size=draws, p=student.weights)
            z, eps = rng.standard_normal((2, draws, student.dim))
            clean = student.means[chosen] + np.einsum("nij,nj->ni", student.factors[chosen], z)
            x = alpha * clean + sigma * eps
            real, other = ((x + sigma**2 * score_of(law, x)) / alpha for law in (data, critic))
            pull = (other - real) / np.mean(np.abs(clean - real), axis=1, keepdims=True)
            one = np.arange(len(student.weights)) == chosen[:, None]
            shifts = one[:, :, None] * pull[:, None, :]
            matrices = one[:, :, None, None] * (pull[:, :, None] * z[:, None, :])[:, None]
            rows.append(np.concatenate([shifts.reshape(draws, -1), matrices.reshape(draws, -1)], axis=1))
        each = np.concatenate(rows)
        return DrawnGradient(each.mean(axis=0), each.std(axis=0) / np.sqrt(len(each)))

    def _levelled(self, critic: Generator) -> list[tuple[float, float, GaussianMixture, GaussianMixture]]:
        mixture, found = mixture_of(self.problem), []
        checked_student(critic, mixture.dim, "fake")
        for t in self.times:
            alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
            found.append((alpha, sigma, mixture.at(self.schedule, t), critic.noisy(alpha, sigma)))
        return found


def distribution_matching(problem: Any, schedule: Schedule, times: Sequence[float]) -> DistributionMatching:
    """Gradients of distribution matching distillation.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Data distribution.
    schedule : Schedule
        Noising process.
    times : sequence of float
        Noise levels, weighted equally.

    Returns
    -------
    DistributionMatching

    Raises
    ------
    ValueError
        If a time lies outside the domain, or nothing is left of the data there.
    """
    nodes = checked_times(schedule, times)
    for t in nodes:
        if float(schedule.alpha(t)) == 0.0:
            msg = f"times has {t!r}, where nothing is left of the data: use times below {schedule.t_max!r}"
            raise ValueError(msg)
    mixture_of(problem)
    return DistributionMatching(problem, schedule, tuple(nodes))
