r"""Score distillation sampling: the gradient, what it is the gradient of, and where it comes to rest.

``grad = sum_t E[w(t) (eps_p(x_t) - eps) dx/dtheta]`` (Poole et al. 2022, DreamFusion, arXiv:2209.14988). The
noise has mean zero given the student, so that this is the gradient of the *cross entropy* ``-E_q[log p_t]``, not of a
divergence: no entropy holds the student open. On Gaussian data it shrinks to the mode, whatever the noise levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.checks import checked_student
from diffnum.distillation.divergences import levels_of, score_of
from diffnum.distillation.generators import Generator
from diffnum.distillation.quadrature import normal_nodes, plane
from diffnum.problems.targets import mixture_of
from diffnum.types import FloatArray, Schedule

__all__ = ["ScoreDistillation", "clipped_gradient", "score_distillation"]


@dataclass(frozen=True, eq=False)
class ScoreDistillation:
    """Cross entropy of noisy student and noisy data, the loss of SDS; made by :func:`score_distillation`.

    Parameters
    ----------
    problem : Problem
        Data distribution.
    schedule : Schedule
        The noising process.
    levels : tuple of (float, float)
        Noise levels: times and their weights.
    """

    problem: Any
    schedule: Schedule
    levels: tuple[tuple[float, float], ...]

    def value(self, student: Generator) -> float:
        """Sum over noise levels of ``-E_q[log p_t]``."""
        total, mixture = 0.0, mixture_of(self.problem)
        checked_student(student, mixture.dim)
        for t, weight in self.levels:
            data = mixture.at(self.schedule, t)
            law = student.noisy(float(self.schedule.alpha(t)), float(self.schedule.sigma(t)))
            nodes = plane(data, law)
            total -= weight * nodes.weight * float(np.exp(law.log_prob(nodes.x)) @ data.log_prob(nodes.x))
        return total

    def gradient(self, student: Generator) -> FloatArray:
        """Expected gradient of SDS, shape of ``student.parameters``."""
        total, mixture = np.zeros_like(student.parameters), mixture_of(self.problem)
        checked_student(student, mixture.dim)
        for t, weight in self.levels:
            alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
            data = mixture.at(self.schedule, t)
            nodes = plane(data, student.noisy(alpha, sigma))
            total -= weight * student.pathwise(nodes, score_of(data, nodes.x), alpha, sigma)
        return total


def score_distillation(
    problem: Any,
    schedule: Schedule,
    times: Sequence[float],
    *,
    weights: ArrayLike | None = None,
    weighting: str = "vsd",
) -> ScoreDistillation:
    """Loss whose gradient is that of score distillation sampling.

    Parameters
    ----------
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Data distribution in one or two dimensions.
    schedule : Schedule
        Noising process.
    times : sequence of float
        Noise levels.
    weights : array_like, optional
        Weights of the levels; equal by default.
    weighting : {"vsd", "kl", "moments"}
        Further weight of each level; "vsd" is the usual ``w = sigma^2``.

    Returns
    -------
    ScoreDistillation
    """
    mixture_of(problem)
    return ScoreDistillation(problem, schedule, levels_of(schedule, times, weights, weighting))


def clipped_gradient(
    loss: ScoreDistillation, student: Generator, limit: float, *, particles: bool = False, spacing: float = 0.25
) -> FloatArray:
    r"""Expected gradient on the line when every pixel's gradient is clipped to an absolute value.

    Clipping is of the gradient of one draw, ``g = w (eps_p - eps)``, or ``w (eps_p - eps_q)`` with ``particles``,
    before it meets the student: on one coordinate, pixel-wise gradient clipping (Pan et al. 2023, arXiv:2310.12474)
    keeps the sign and bounds the size. The expectation of a clipped variable is not the clipped expectation: where the
    law of g is skewed, the student's resting point moves.

    Parameters
    ----------
    loss : ScoreDistillation
        On a problem of dimension 1.
    student : Generator
        Of dimension 1.
    limit : float
        Largest absolute value, positive; infinite for none.
    particles : bool
        Clip the difference to the student's own score (VSD) instead of that to the noise (SDS).
    spacing : float
        Spacing of the nodes of standard normal variables.

    Returns
    -------
    ndarray, shape of ``student.parameters``

    Raises
    ------
    ValueError
        If the limit is not positive or the dimension is not 1.
    """
    if not limit > 0.0:
        msg = f"limit={limit!r} clips everything away: use a positive number"
        raise ValueError(msg)
    if checked_student(student, mixture_of(loss.problem).dim).dim != 1:
        msg = f"student has dimension {student.dim}: clipped expectations are exact on the line: use dimension 1"
        raise ValueError(msg)
    z, p = normal_nodes(spacing)
    latent, noise = (a.ravel() for a in np.meshgrid(z, z, indexing="ij"))
    joint = np.outer(p, p).ravel()
    mixture = mixture_of(loss.problem)
    means, factors = np.zeros_like(student.means), np.zeros_like(student.factors)
    for t, weight in loss.levels:
        alpha, sigma = float(loss.schedule.alpha(t)), float(loss.schedule.sigma(t))
        data, law = mixture.at(loss.schedule, t), student.noisy(alpha, sigma)
        for k, share in enumerate(student.weights):
            x = (alpha * (student.means[k, 0] + student.factors[k, 0, 0] * latent) + sigma * noise)[:, None]
            other = score_of(law, x)[:, 0] if particles else -noise / sigma
            pull = np.clip(weight * alpha * (other - score_of(data, x)[:, 0]), -limit, limit)
            means[k, 0] += share * float(joint @ pull)
            factors[k, 0, 0] += share * float(joint @ (pull * latent))
    return np.concatenate([means.ravel(), factors.ravel()])
