r"""Search for noise: best of N, whose law is known on Gaussian data, and zero-order search."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from diffnum.particles.weighted import on_host
from diffnum.plans import Plan
from diffnum.solver import solve
from diffnum.solver.noise import PopulationStreams
from diffnum.types import Array, Denoiser, FloatArray

__all__ = ["BestOfNormal", "Found", "best_of", "zero_order"]


class Found(NamedTuple):
    """What a search returns.

    Parameters
    ----------
    x : array, shape (n, ...)
        Samples, the best of each search.
    reward : ndarray, shape (n,)
        Their rewards.
    nfe : int
        Model evaluations of one search, all candidates included.
    """

    x: Array
    reward: FloatArray
    nfe: int


def best_of(
    plan: Plan,
    model: Denoiser,
    reward: Callable[[Array], Array],
    count: int,
    n: int,
    *,
    shape: tuple[int, ...],
    seed: int = 0,
) -> Found:
    """Draw ``count`` samples for each of ``n`` searches and keep the one of the largest reward.

    Parameters
    ----------
    plan : Plan
        Numbers of any method.
    model : Denoiser
        Model.
    reward : callable
        ``reward(x)``, shape (n, ...) to (n,).
    count : int
        Candidates N, at least 1.
    n : int
        Independent searches.
    shape : tuple of int
        Shape of one sample.
    seed : int
        Of noise and starts.
    """
    if count < 1 or n < 1:
        msg = f"count={count}, n={n}: give at least one candidate and one search"
        raise ValueError(msg)

    def candidate(number: int) -> Array:
        z = PopulationStreams(seed, first=number * n).start(n, shape)
        return solve(plan, model, _started(plan, z), noise=PopulationStreams(seed, first=number * n))

    x = candidate(0)
    best = _rewarded(reward, x)
    for number in range(1, count):
        other = candidate(number)
        value = _rewarded(reward, other)
        x, best = _better(x, best, other, value)
    return Found(x, best, count * plan.nfe)


def zero_order(
    plan: Plan,
    model: Denoiser,
    reward: Callable[[Array], Array],
    n: int,
    *,
    shape: tuple[int, ...],
    neighbours: int,
    rounds: int,
    step: float = 0.5,
    seed: int = 0,
) -> Found:
    """Search around the best start so far: neighbours of the pivot, the best becomes the pivot.

    A neighbour of z is ``sqrt(1 - step^2) z + step * fresh noise``: it is a standard normal where z is one. Selection
    is what takes the pivots, and with them the samples, out of the model's law.

    Parameters
    ----------
    plan : Plan
        Numbers of a deterministic method: the start decides the sample.
    model, reward, n, shape, seed
        As for :func:`best_of`.
    neighbours : int
        Candidates a round, at least 1.
    rounds : int
        Rounds.
    step : float
        How far neighbours are, in (0, 1].

    References
    ----------
    Ma et al. 2025, arXiv:2501.09732, section 4 (zero-order search).
    """
    if any(tableau.noises for tableau in plan.steps):
        msg = (
            f"plan: {plan.method!r} draws noise on the way, so that a start does not decide a sample; use an ODE method"
        )
        raise ValueError(msg)
    if neighbours < 1 or rounds < 1 or not 0.0 < step <= 1.0:
        msg = (
            f"neighbours={neighbours}, rounds={rounds}, step={step}: give at least 1, at least 1, and a share in (0, 1]"
        )
        raise ValueError(msg)
    pivot = PopulationStreams(seed).start(n, shape)
    x = solve(plan, model, _started(plan, pivot))
    best, drawn = _rewarded(reward, x), 1
    for _ in range(rounds):
        centre = pivot
        for _ in range(neighbours):
            fresh = PopulationStreams(seed, first=drawn * n).start(n, shape)
            drawn += 1
            z = math.sqrt(1.0 - step**2) * centre + step * fresh
            other = solve(plan, model, _started(plan, z))
            value = _rewarded(reward, other)
            better = (value > best).reshape(-1, *[1] * len(shape))
            pivot = np.where(better, z, pivot)
            x, best = _better(x, best, other, value)
    return Found(x, best, drawn * plan.nfe)


def _started(plan: Plan, z: FloatArray) -> FloatArray:
    t = float(plan.times[0])
    alpha, sigma = float(plan.schedule.alpha(t)), float(plan.schedule.sigma(t))
    return np.asarray(sigma * z + (1.0 - alpha) * np.asarray(plan.schedule.mean))


def _rewarded(reward: Callable[[Array], Array], x: Array) -> FloatArray:
    value = on_host(reward(x))
    if value.shape != (len(x),) or np.isnan(value).any():
        msg = f"reward gave shape {value.shape} for {len(x)} samples, or NaN: it must give one number each"
        raise ValueError(msg)
    return value


def _better(x: Array, best: FloatArray, other: Array, value: FloatArray) -> tuple[Array, FloatArray]:
    xp = array_namespace(x)
    mask = xp.asarray((value > best).reshape(-1, *[1] * (x.ndim - 1)))
    return xp.where(mask, other, x), np.maximum(best, value)


@dataclass(frozen=True)
class BestOfNormal:
    """Exact law of a normal reward among the best of N: that of the largest of N independent draws.

    Parameters
    ----------
    count : int
        Candidates N, at least 1.
    mean, deviation : float
        Of the reward of one sample.
    """

    count: int
    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        if self.count < 1 or not self.deviation > 0.0:
            msg = f"count={self.count}, deviation={self.deviation}: give at least one candidate and a deviation > 0"
            raise ValueError(msg)

    @property
    def kl(self) -> float:
        """Divergence of the law of the best sample from that of one sample, ``log N - (N - 1)/N``.

        Equal for every reward whose law has no atoms, whatever the data: the best is ``N F^(N-1)`` as likely.
        """
        return math.log(self.count) - (self.count - 1) / self.count

    def log_prob(self, reward: FloatArray) -> FloatArray:
        """Log-density of the reward of the best."""
        from scipy.special import log_ndtr

        z = (np.asarray(reward, dtype=float) - self.mean) / self.deviation
        normal = -0.5 * (z * z + math.log(2.0 * math.pi)) - math.log(self.deviation)
        return np.asarray(math.log(self.count) + (self.count - 1) * log_ndtr(z) + normal)

    @property
    def expected(self) -> float:
        """Mean reward of the best."""
        return self._moment(1)

    @property
    def variance(self) -> float:
        """Variance of the reward of the best."""
        return self._moment(2) - self.expected**2

    def _moment(self, order: int) -> float:
        # A uniform grid over all that a float sees: exact to rounding for a smooth density.
        z = np.linspace(-12.0, 12.0, 4801)
        reward = self.mean + self.deviation * z
        density = np.exp(self.log_prob(reward)) * self.deviation * (z[1] - z[0])
        return float(np.sum(density * reward**order))

    def tilt_of_equal_divergence(self) -> float:
        """Scale of the exponential tilt that is as far from one sample; its mean reward is larger."""
        return math.sqrt(2.0 * self.kl) / self.deviation
