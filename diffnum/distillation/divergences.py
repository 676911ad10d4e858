r"""Losses of one-step students that match laws: f-divergences, and what VSD, DMD and moment matching descend.

With the law ``q_t`` of the noisy student, the law ``p_t`` of the noisy data and ``r = p_t/q_t``,

``D_f(p || q) = E_q[f(r)]``, gradient ``-E_q[f''(r) r^2 (s_p - s_q) dx_t/dtheta]``

(Xu et al. 2025, f-distill, arXiv:2502.15681). The weight ``f''(r) r^2`` is 1 for the reverse KL divergence:
what variational score distillation, distribution matching and moment matching use, each with a weight of its own over
noise levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffnum.distillation.checks import checked_student, checked_times
from diffnum.distillation.generators import Generator
from diffnum.distillation.quadrature import Plane, plane
from diffnum.problems import GaussianMixture
from diffnum.problems._states import FORMS
from diffnum.problems.targets import mixture_of
from diffnum.types import FloatArray, Schedule

__all__ = ["DIVERGENCES", "LEVEL_WEIGHTS", "Divergence", "DivergenceLoss", "f_divergence", "level_weight", "score_of"]


@dataclass(frozen=True)
class Divergence:
    """A convex function f with ``f(1) = 0``, in logarithms, so that no density underflows.

    Attributes
    ----------
    name : str
    integrand : callable
        ``q f(p/q)`` of ``(log p, log q)``.
    log_weight : callable
        Logarithm of ``f''(r) r^2`` of ``log r``.
    """

    name: str
    integrand: Callable[[FloatArray, FloatArray], FloatArray] = field(repr=False)
    log_weight: Callable[[FloatArray], FloatArray] = field(repr=False)


def _softplus(x: FloatArray) -> FloatArray:
    return np.asarray(np.logaddexp(0.0, x))


def _reverse(p: FloatArray, q: FloatArray) -> FloatArray:
    return np.asarray(np.exp(q) * (q - p))


def _forward(p: FloatArray, q: FloatArray) -> FloatArray:
    return np.asarray(np.exp(p) * (p - q))


def _jensen_shannon(p: FloatArray, q: FloatArray) -> FloatArray:
    middle = np.logaddexp(p, q) - np.log(2.0)
    return np.asarray(0.5 * (np.exp(p) * (p - middle) + np.exp(q) * (q - middle)))


def _jensen_shannon_weight(u: FloatArray) -> FloatArray:
    return np.asarray(-np.log(2.0) - _softplus(-u))


def _hellinger(p: FloatArray, q: FloatArray) -> FloatArray:
    return np.asarray((np.exp(0.5 * p) - np.exp(0.5 * q)) ** 2)


def _hellinger_weight(u: FloatArray) -> FloatArray:
    return np.asarray(0.5 * u - np.log(2.0))


def _jeffreys(p: FloatArray, q: FloatArray) -> FloatArray:
    return np.asarray((np.exp(p) - np.exp(q)) * (p - q))


def _same(u: FloatArray) -> FloatArray:
    return u


DIVERGENCES: Mapping[str, Divergence] = MappingProxyType(
    {
        d.name: d
        for d in (
            Divergence("reverse-kl", _reverse, np.zeros_like),
            Divergence("forward-kl", _forward, _same),
            Divergence("jensen-shannon", _jensen_shannon, _jensen_shannon_weight),
            Divergence("squared-hellinger", _hellinger, _hellinger_weight),
            Divergence("jeffreys", _jeffreys, _softplus),
        )
    }
)
"""Name to record: KL(q || p), KL(p || q), the mean of both to the middle, the squared Hellinger distance, and the sum
of both KL divergences."""


class LevelWeight(NamedTuple):
    """Weight of a noise level in a sum of reverse KL divergences, and whose it is."""

    weight: Callable[[float, float], float]
    source: str


def _even(_: float, __: float) -> float:
    """Weight of the divergence itself."""
    return 1.0


def _variational(alpha: float, sigma: float) -> float:
    """Weight of variational score distillation."""
    return sigma / alpha * sigma**2


def _matched(alpha: float, sigma: float) -> float:
    """Weight of moment matching."""
    return (sigma / alpha) ** 2


LEVEL_WEIGHTS: Mapping[str, LevelWeight] = MappingProxyType(
    {
        "kl": LevelWeight(_even, "the divergence itself"),
        "vsd": LevelWeight(
            _variational,
            "Wang et al. 2023, arXiv:2305.16213, with w = sigma^2: thu-ml/prolificdreamer at 186c8b8f, nerf/sd.py, "
            "train_step multiplies (eps_p - eps_q) by w, without the alpha of dx_t/dx",
        ),
        "moments": LevelWeight(
            _matched,
            "Salimans et al. 2024, arXiv:2406.04103, with w = 1 and one step: the gradient is "
            "E[D_q(x_t) - D_p(x_t)] dx/dtheta",
        ),
    }
)
"""Name to the weight of KL(q_t || p_t) that a method's gradient belongs to; each is for the gradient with respect to
the clean student, ``g(x_t) dx/dtheta``, where the divergence has ``alpha (s_q - s_p) dx/dtheta``."""


def level_weight(name: str, alpha: float, sigma: float) -> float:
    """Weight of one noise level; see :data:`LEVEL_WEIGHTS`."""
    if name not in LEVEL_WEIGHTS:
        msg = f"weighting={name!r} is not known: use one of {', '.join(map(repr, LEVEL_WEIGHTS))}"
        raise ValueError(msg)
    return LEVEL_WEIGHTS[name].weight(alpha, sigma)


def score_of(law: GaussianMixture, x: FloatArray) -> FloatArray:
    """Score of a law without noise, shape of ``x``."""
    return np.asarray(law.core.predict(x, 1.0, 0.0, FORMS["score"](1.0, 0.0)))


class Levelled(NamedTuple):
    """One noise level of a loss, with both laws and nodes over them."""

    alpha: float
    sigma: float
    weight: float
    data: GaussianMixture
    student: GaussianMixture
    nodes: Plane


@dataclass(frozen=True, eq=False)
class DivergenceLoss:
    """Sum over noise levels of an f-divergence between noisy data and noisy student; made by :func:`f_divergence`.

    Attributes
    ----------
    divergence : Divergence
    problem : object
        Data distribution, a mixture of Gaussians in one or two dimensions.
    schedule : Schedule
    levels : tuple of (time, weight)
    """

    divergence: Divergence
    problem: Any
    schedule: Schedule
    levels: tuple[tuple[float, float], ...]

    def value(self, student: Generator) -> float:
        """Loss of a student."""
        total = 0.0
        for level in self._levelled(student):
            p, q = level.data.log_prob(level.nodes.x), level.student.log_prob(level.nodes.x)
            total += level.weight * level.nodes.weight * float(np.sum(self.divergence.integrand(p, q)))
        return total

    def gradient(self, student: Generator) -> FloatArray:
        """Its gradient by scores and the weight ``f''(r) r^2``, shape of ``student.parameters``."""
        total = np.zeros_like(student.parameters)
        for level in self._levelled(student):
            x = level.nodes.x
            factor = self.divergence.log_weight(level.data.log_prob(x) - level.student.log_prob(x))
            pull = score_of(level.student, x) - score_of(level.data, x)
            total += level.weight * student.pathwise(level.nodes, pull, level.alpha, level.sigma, factor)
        return total

    def _levelled(self, student: Generator) -> list[Levelled]:
        mixture = mixture_of(self.problem)
        checked_student(student, mixture.dim)
        found = []
        for t, weight in self.levels:
            alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
            data, law = mixture.at(self.schedule, t), student.noisy(alpha, sigma)
            found.append(Levelled(alpha, sigma, weight, data, law, plane(data, law)))
        return found


def f_divergence(
    name: str,
    problem: Any,
    schedule: Schedule,
    times: Sequence[float],
    *,
    weights: ArrayLike | None = None,
    weighting: str = "kl",
) -> DivergenceLoss:
    """Sum over noise levels of an f-divergence between noisy data and noisy student, with exact gradient.

    Parameters
    ----------
    name : {"reverse-kl", "forward-kl", "jensen-shannon", "squared-hellinger", "jeffreys"}
        Divergence.
    problem : Gaussian, Mixture1D, GaussianMixture or RotatedProduct
        Data distribution in one or two dimensions.
    schedule : Schedule
        Noising process.
    times : sequence of float
        Noise levels of the loss.
    weights : array_like, optional
        Weights of the levels; equal, with sum 1, by default.
    weighting : {"kl", "vsd", "moments"}
        Further weight of each level, for the methods of :data:`LEVEL_WEIGHTS`.

    Returns
    -------
    DivergenceLoss

    Raises
    ------
    ValueError
        If a name is unknown, a time outside the domain, or weights do not fit.
    """
    if name not in DIVERGENCES:
        msg = f"name={name!r} is not a divergence: use one of {', '.join(map(repr, DIVERGENCES))}"
        raise ValueError(msg)
    return DivergenceLoss(DIVERGENCES[name], problem, schedule, levels_of(schedule, times, weights, weighting))


def levels_of(
    schedule: Schedule, times: Sequence[float], weights: ArrayLike | None, weighting: str
) -> tuple[tuple[float, float], ...]:
    nodes = np.asarray(checked_times(schedule, times))
    shares = np.full(len(nodes), 1.0 / len(nodes)) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != nodes.shape or not np.all(np.isfinite(shares) & (shares >= 0.0)):
        msg = f"weights={weights!r}: use one finite number a time, 0 or more, shape ({len(nodes)},)"
        raise ValueError(msg)
    levels = []
    for t, share in zip(nodes.tolist(), shares.tolist(), strict=True):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        if alpha == 0.0:
            msg = f"times has {t!r}, where nothing is left of the data: use times below {schedule.t_max!r}"
            raise ValueError(msg)
        levels.append((t, share * level_weight(weighting, alpha, sigma)))
    return tuple(levels)
