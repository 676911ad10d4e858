r"""Search for noise: best of N, whose law is known on Gaussian data, zero-order search and search over paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from diffnum.forms import predict
from diffnum.jobs.checked import check_callable, check_count, check_model, check_number, check_plan
from diffnum.particles.weighted import on_host
from diffnum.plans import Plan
from diffnum.solver import solve
from diffnum.solver.noise import PopulationStreams
from diffnum.types import Array, Denoiser, FloatArray

__all__ = ["BestOfNormal", "Found", "best_of", "noise_search", "path_search", "zero_order"]


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

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        If there is no candidate or no search.
    """
    check_plan(plan)
    check_model(model)
    check_callable("reward", reward, "a function reward(x) that gives one number a sample")
    check_count("count", count)
    check_count("n", n)

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

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        If the plan draws noise, or there is no neighbour, round or step.

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


def path_search(
    plan: Plan,
    model: Denoiser,
    reward: Callable[[Array], Array],
    n: int,
    *,
    shape: tuple[int, ...],
    keep: int,
    copies: int,
    begin: int,
    up: int,
    down: int,
    seed: int = 0,
) -> Found:
    """Search over paths: go some steps back towards noise in several ways, come further than before, keep the best.

    From node i each of the ``keep`` paths is noised to node i - up, ``copies`` times, and solved on to node
    i - up + down; the ``keep`` paths of largest reward of the predicted data go on. With one path and one copy the law
    of the samples is that of the plan, since noising and solving both keep the marginals.

    Parameters
    ----------
    plan : Plan
        Numbers of a deterministic one-step method, such as ``"ddim"`` or ``"edm_heun"``.
    model, reward, n, shape, seed
        As for :func:`best_of`.
    keep, copies : int
        Paths kept, and ways back to noise from each, at least 1.
    begin : int
        Node to which the paths are solved first.
    up, down : int
        Steps back and steps on, ``0 < up < down`` and ``up <= begin``.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        If the plan draws noise or has a history, or the counts do not fit it.

    References
    ----------
    Ma et al. 2025, arXiv:2501.09732, section 4 (search over paths), with levels by nodes of the plan.
    """
    if any(tableau.noises or set(tableau.inputs) != {"x"} for tableau in plan.steps):
        msg = f"plan: {plan.method!r} draws noise or has a history: use a one-step ODE method such as 'ddim'"
        raise ValueError(msg)
    if min(keep, copies) < 1 or not 0 < up < down or not up <= begin <= len(plan):
        msg = (
            f"keep={keep}, copies={copies}, begin={begin}, up={up}, down={down}: give 1 or more paths and copies, and "
            f"0 < up < down, up <= begin <= {len(plan)}"
        )
        raise ValueError(msg)
    x = solve(plan[:begin], model, _started(plan, PopulationStreams(seed).start(n * keep, shape)))
    node, nfe, rounds = begin, keep * plan[:begin].nfe, 0
    best = np.zeros(n * keep)
    while node < len(plan) or not rounds:
        low, high = node - up, min(node - up + down, len(plan))
        x = _noised(plan, np.repeat(x, copies, axis=0), node, low, PopulationStreams(seed), rounds)
        x = solve(plan[low:high], model, x)
        last = high == len(plan)
        best = _rewarded(reward, x if last else predict(model, x, float(plan.times[high]), "data"))
        nfe += keep * copies * (plan[low:high].nfe + (0 if last else 1))
        order = np.argsort(-best.reshape(n, keep * copies), axis=1, kind="stable")[:, :keep]
        chosen = (order + np.arange(n)[:, None] * keep * copies).ravel()
        x, best = x[chosen], best[chosen]
        node, rounds = high, rounds + 1
    return Found(x[::keep], best[::keep], nfe)


SEARCHES: Mapping[str, Callable[..., Found]] = MappingProxyType(
    {"random": best_of, "zero_order": zero_order, "paths": path_search}
)
"""Searches by name."""


def noise_search(
    plan: Plan, model: Denoiser, reward: Callable[[Array], Array], n: int, *, by: str = "random", **options: Any
) -> Found:
    """Search for noise whose sample has a large reward, in one of three ways.

    Parameters
    ----------
    plan, model, reward, n
        As for :func:`best_of`.
    by : {"random", "zero_order", "paths"}
        :func:`best_of`, :func:`zero_order` or :func:`path_search`.
    **options
        Their arguments.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        If the search is unknown.
    """
    if by not in SEARCHES:
        msg = f"by={by!r} is no search: use one of {', '.join(SEARCHES)}"
        raise ValueError(msg)
    search = SEARCHES[by]
    return search(plan, model, reward, n=n, **options)


def _noised(plan: Plan, x: FloatArray, start: int, end: int, streams: PopulationStreams, rounds: int) -> FloatArray:
    """States of one node with the noise of an earlier, noisier one."""
    schedule = plan.schedule
    t, s = (float(plan.times[i]) for i in (start, end))
    ratio = float(schedule.alpha(s)) / float(schedule.alpha(t))
    variance = float(schedule.sigma(s)) ** 2 - (ratio * float(schedule.sigma(t))) ** 2
    return np.asarray(ratio * x + math.sqrt(variance) * streams(rounds, 0, x))


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
        check_count("count", self.count)
        check_number("mean", self.mean)
        check_number("deviation", self.deviation, 0.0, closed=False)

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
