r"""Which measurement next? Greedy designs by exact information, and the published scores against it.

A measurement :math:`Y = a^T x + \text{noise}` of a law tells :math:`I = H(Y) - H(\text{noise})` nats. Of a Gaussian
that is
:math:`\frac12 \log(1 + a^T \Sigma a / \sigma_Y^2)`, whatever is measured, so that its best design is known beforehand;
of a mixture Y is a mixture in one dimension, whose entropy is an integral. Posteriors are exact here, so that scores
differ by nothing but what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.jobs.checked import check_name
from diffnum.problems._components import log_sum_exp
from diffnum.problems._states import positive_count, real_array
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.targets import mixture_of, posterior
from diffnum.types import FloatArray

__all__ = ["ACQUISITIONS", "ActiveDesign", "information_gain", "measure_actively"]

REACH, CELLS = 10.0, 12.0
"""How many standard deviations beyond the components the integral goes, and its cells to the least of them."""

LOOKS = 64
"""Simulated posteriors over which a design that is fixed beforehand averages."""


def information_gain(law: Any, rows: ArrayLike, noise_std: float) -> FloatArray:
    """Nats that each of some measurements tells about a law, exactly.

    Parameters
    ----------
    law : GaussianMixture, Gaussian or Mixture1D
        What is known so far.
    rows : array_like, shape (k, d)
        Candidates.
    noise_std : float
        Standard deviation of the noise, > 0.

    Returns
    -------
    ndarray, shape (k,)

    Examples
    --------
    >>> import diffnum as dn
    >>> law = dn.Gaussian([0.0, 0.0], [3.0, 1.0])
    >>> float(information_gain(law, [[1.0, 0.0]], 1.0)[0])  # log(1 + 3) / 2
    0.693147...
    """
    mixture, candidates, noise = _checked(law, rows, noise_std)
    means, variances = _predicted(mixture, candidates, noise)
    return np.array([_entropy(mixture.weights, m, v) for m, v in zip(means.T, variances.T, strict=True)]) - (
        0.5 * math.log(2.0 * math.pi * math.e * noise**2)
    )


def _entropy(weights: FloatArray, means: FloatArray, variances: FloatArray) -> float:
    """Entropy of a mixture in one dimension; the trapezoidal rule is exact to rounding for such integrands."""
    if len(weights) == 1:
        return 0.5 * math.log(2.0 * math.pi * math.e * float(variances[0]))
    used = weights > 0.0
    spread = np.sqrt(variances[used])
    low, high = float(np.min(means[used] - REACH * spread)), float(np.max(means[used] + REACH * spread))
    count = int(np.ceil(CELLS * (high - low) / float(np.min(spread)))) + 1
    y, cell = np.linspace(low, high, count, retstep=True)
    logs = np.log(weights[used]) - 0.5 * ((y[:, None] - means[used]) ** 2 / variances[used])
    log_density = log_sum_exp(np, logs - 0.5 * np.log(2.0 * np.pi * variances[used]))
    return float(-np.sum(np.exp(log_density) * log_density) * cell)


def _variance(predicted: FloatArray, noise_std: float) -> FloatArray:  # noqa: ARG001
    """Variance of the predicted measurements."""
    return np.asarray(np.var(predicted, axis=0))


def _bound(predicted: FloatArray, noise_std: float) -> FloatArray:
    """Entropy of a mixture around the predicted measurements, by the densities at its own centres."""
    return np.asarray(-np.mean(_pairwise(predicted, noise_std, -1.0), axis=0))


def _spread(predicted: FloatArray, noise_std: float) -> FloatArray:
    """What the authors' code sums: the exponent has the other sign, so that far pairs count and not near ones."""
    return np.asarray(np.mean(_pairwise(predicted, noise_std, 1.0), axis=0))


def _pairwise(predicted: FloatArray, noise_std: float, sign: float) -> FloatArray:
    """Logarithm of the mean over j of exp(sign d_ij^2 / (2 sigma^2)), for each particle i and candidate."""
    apart = (predicted[:, None] - predicted[None]) ** 2 / (2.0 * noise_std**2)
    return np.asarray(log_sum_exp(np, np.moveaxis(sign * apart, 1, 2)) - math.log(len(predicted)))


ACQUISITIONS: Mapping[str, Callable[[FloatArray, float], FloatArray] | None] = MappingProxyType(
    {"information": None, "variance": _variance, "entropy bound": _bound, "spread": _spread, "random": None}
)
"""Scores of candidates from predicted measurements, shape (particles, k), and the noise; information is exact.

The bound is that of Nolan et al. 2024, arXiv:2406.14388; "spread" what active-diffusion-subsampling/ads at 64f2889b,
ActiveSampler.py, select_pixel_entropy computes.
"""


@dataclass(frozen=True, eq=False)
class ActiveDesign:
    """Measurements that were chosen one after another, of several true states.

    Parameters
    ----------
    chosen : ndarray of int, shape (n, count)
        Candidates in the order in which they were measured.
    information : ndarray, shape (n, count)
        Logarithm of the posterior's over the prior's density at the true state, after each: nats, whose mean over true
        states is the information of the measurements.
    error : ndarray, shape (n, count)
        Squared distance of the posterior's mean from the true state.
    """

    chosen: Any
    information: FloatArray
    error: FloatArray


def measure_actively(
    law: Any,
    rows: ArrayLike,
    noise_std: float,
    count: int,
    *,
    acquisition: str = "information",
    adaptive: bool = True,
    n: int = 100,
    particles: int = 32,
    seed: int = 0,
) -> ActiveDesign:
    """Measure true states drawn from a law, each time with the candidate that scores the highest.

    Parameters
    ----------
    law : GaussianMixture, Gaussian or Mixture1D
        Prior.
    rows : array_like, shape (k, d)
        Candidates; each is measured once at most.
    noise_std : float
        Standard deviation of the noise, > 0.
    count : int
        Measurements of each state, at most k.
    acquisition : {"information", "variance", "entropy bound", "spread", "random"}
        Score: exact, or from predicted measurements of particles of the exact posterior.
    adaptive : bool
        False chooses one design for all states beforehand, by the mean of the score over simulated ones.
    n : int
        True states.
    particles : int
        Of each posterior.
    seed : int
        Of all draws; true states and noise are the same for every score.

    Returns
    -------
    ActiveDesign

    Raises
    ------
    ValueError
        If there are fewer candidates than measurements, the score is unknown, or shapes do not fit.
    """
    mixture, candidates, noise = _checked(law, rows, noise_std)
    check_name("acquisition", acquisition, ACQUISITIONS)
    states, wanted = positive_count(n), positive_count(count, "count")
    if wanted > len(candidates):
        msg = f"count={count}: there are {len(candidates)} candidates, each is measured once"
        raise ValueError(msg)
    score = _Score(acquisition, candidates, noise, positive_count(particles, "particles"))
    fixed = None if adaptive else _beforehand(mixture, score, wanted, seed)
    truth = mixture.sample(states, seed)
    errors = np.random.default_rng(seed + 1).standard_normal((states, wanted))
    chosen = np.zeros((states, wanted), dtype=np.int64)
    information, error = np.zeros((states, wanted)), np.zeros((states, wanted))
    prior = mixture.log_prob(truth)
    for i in range(states):
        known, generator = mixture, np.random.default_rng((seed + 2, i))
        for k in range(wanted):
            place = score.best(known, chosen[i, :k], generator) if fixed is None else fixed[k]
            y = candidates[place] @ truth[i] + noise * errors[i, k]
            known = posterior(known, candidates[place][None], [y], noise)
            chosen[i, k] = place
            information[i, k] = float(known.log_prob(truth[i : i + 1])[0] - prior[i])
            error[i, k] = float(np.sum((known.weights @ known.means - truth[i]) ** 2))
    return ActiveDesign(chosen, information, error)


@dataclass(frozen=True, eq=False)
class _Score:
    """How candidates are compared."""

    name: str
    rows: FloatArray
    noise_std: float
    particles: int

    def of(self, law: GaussianMixture, generator: np.random.Generator) -> FloatArray:
        """Scores of all candidates."""
        if self.name == "information":
            return information_gain(law, self.rows, self.noise_std)
        if self.name == "random":
            return generator.random(len(self.rows))
        x = law.sample(self.particles, int(generator.integers(2**31)))
        function: Any = ACQUISITIONS[self.name]
        return np.asarray(function(x @ self.rows.T, self.noise_std))

    def best(self, law: GaussianMixture, taken: Any, generator: np.random.Generator) -> int:
        """Candidate of the highest score of those that are left."""
        scores = self.of(law, generator)
        scores[taken] = -np.inf
        return int(np.argmax(scores))


def _beforehand(mixture: GaussianMixture, score: _Score, count: int, seed: int) -> list[int]:
    """A design that looks at no measurement: each time the highest mean score over simulated posteriors."""
    generator = np.random.default_rng(seed + 3)
    truth = mixture.sample(LOOKS, seed + 4)
    known, chosen = [mixture] * LOOKS, [-1] * count
    for k in range(count):
        scores = np.mean([score.of(law, generator) for law in (known if k else known[:1])], axis=0)
        scores[chosen[:k]] = -np.inf
        chosen[k] = place = int(np.argmax(scores))
        row = score.rows[place]
        y = truth @ row + score.noise_std * generator.standard_normal(LOOKS)
        known = [posterior(law, row[None], [value], score.noise_std) for law, value in zip(known, y, strict=True)]
    return chosen


def _predicted(mixture: GaussianMixture, rows: FloatArray, noise_std: float) -> tuple[FloatArray, FloatArray]:
    """Means and variances of the measurements under each component, shape (K, k)."""
    c = mixture.covariances
    if c.ndim == 3:
        spread = np.einsum("ki,cij,kj->ck", rows, c, rows)
    else:
        spread = np.broadcast_to(c[:, None] if c.ndim == 1 else c, mixture.means.shape) @ (rows**2).T
    return mixture.means @ rows.T, spread + noise_std**2


def _checked(law: Any, rows: ArrayLike, noise_std: float) -> tuple[GaussianMixture, FloatArray, float]:
    mixture, candidates = mixture_of(law), real_array(rows, "rows", (2,))
    if candidates.shape[1] != mixture.dim:
        msg = f"rows has shape {candidates.shape}: candidates act on states of dimension {mixture.dim}"
        raise ValueError(msg)
    if not (math.isfinite(noise_std) and noise_std > 0.0):
        msg = f"noise_std={noise_std!r}: give a standard deviation > 0"
        raise ValueError(msg)
    return mixture, candidates, float(noise_std)
