r"""Soft values that are learned: a regression of what samples turned out to be worth on the states they came from.

The conditional mean minimises any loss :math:`F(y) - F(m) - F'(m)(y - m)` with F convex. For the soft value, the
logarithm of a mean of :math:`e^{r/a}`, the loss of Poisson's law is taken: it keeps the mean positive, and is convex
for a logarithm that is linear in the features. For the mean of the reward itself, which the authors' code learns, it is
the square.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from diffnum.jobs.checked import check_callable, check_count, check_number
from diffnum.particles.population import populations
from diffnum.particles.weighted import on_host
from diffnum.plans import Plan
from diffnum.types import Array, Denoiser, FloatArray

__all__ = ["LearnedValue", "learned_value"]

FeatureMap: TypeAlias = Callable[[FloatArray], FloatArray]
"""From standardised states, shape (n, d), to features, shape (n, k), of which the first is 1."""

Learned: TypeAlias = Literal["soft", "mean"]

DEGREE = 4
"""Largest power of a coordinate among the features."""

RIDGE = 1e-6
"""Share of a sample by which coefficients are drawn to zero, so that features that do not vary have none."""

ROUNDS = 60
"""Most rounds of Newton's method; a handful is usual."""


@dataclass(frozen=True, eq=False)
class LearnedValue:
    """A value at the nodes of a plan, from a regression; a ``value(x, t)`` for :func:`soft_values`.

    Parameters
    ----------
    times : ndarray, shape (m,)
        Times of the nodes, from the second to the last but one.
    coefficients : ndarray, shape (m, k)
        Of the features, in units of the reward.
    centres, widths : ndarray, shape (m, d)
        By which states are standardised.
    lowest, highest : ndarray, shape (m, d)
        Range of the standardised states that were seen; beyond it the value stays as it is at the edge.
    features : callable
        Their features.
    nfe : int
        Model evaluations that were spent on learning, all samples together.
    """

    times: FloatArray
    coefficients: FloatArray
    centres: FloatArray
    widths: FloatArray
    lowest: FloatArray
    highest: FloatArray
    features: FeatureMap
    nfe: int

    def __call__(self, x: Array, t: float) -> FloatArray:
        """Values of states ``x``, shape (n, ...), at the time of a node; shape (n,).

        Raises
        ------
        ValueError
            If no node has this time.
        """
        node = int(np.argmin(np.abs(self.times - float(t))))
        if abs(self.times[node] - float(t)) > 1e-9 * (1.0 + abs(float(t))):
            msg = f"t={float(t)!r} is no inner node of the plan on which the value was learned: learn it on this plan"
            raise ValueError(msg)
        z = (_flat(x) - self.centres[node]) / self.widths[node]
        kept = np.clip(z, self.lowest[node], self.highest[node])
        return np.asarray(self.features(kept) @ self.coefficients[node])


def learned_value(
    plan: Plan,
    model: Denoiser,
    reward: Callable[[Array], Array],
    temperature: float,
    n: int,
    *,
    kind: Learned = "soft",
    features: FeatureMap | None = None,
    seed: int = 0,
    x: Array | None = None,
) -> LearnedValue:
    r"""Learn the value of states by regression on plain samples (the Monte Carlo variant of SVDD).

    Parameters
    ----------
    plan : Plan
        Numbers of a stochastic method, at least two steps; those with which the value will be used.
    model : Denoiser
        Model of p.
    reward : callable
        ``reward(x)`` of data, shape (n, ...) to (n,).
    temperature : float
        a, > 0.
    n : int
        Samples to learn from; at least ten times the number of features.
    kind : {"soft", "mean"}
        :math:`a \log E[e^{r/a} \mid x_t]`, as derived, or :math:`E[r \mid x_t]`, as the authors' code learns it.
    features : callable, optional
        From states that are standardised, shape (n, d), to features, shape (n, k), of which the first is 1; by default
        powers up to the fourth of every coordinate and products of two.
    seed : int
        Of the samples.
    x : array, shape (n, ...), optional
        States at the first node; by default noise of its variance.

    Returns
    -------
    LearnedValue

    Raises
    ------
    TypeError
        If the reward is no function.
    ValueError
        If the temperature is not positive, the kind is unknown, the plan has no inner node, a reward is not finite, or
        there are too few samples for the features.

    References
    ----------
    Li et al. 2024, arXiv:2408.08252; masa-ue/SVDD at 04c0bec2, Enformer.py, ``BaseModel.forward`` (mean square error
    of the reward itself, one regression for all times).
    """
    check_callable("reward", reward, "a function reward(x) that gives one number a sample")
    check_number("temperature", temperature, 0.0, closed=False)
    check_count("n", n)
    if kind not in get_args(Learned):
        msg = f"kind={kind!r} is unknown: use one of {', '.join(get_args(Learned))}"
        raise ValueError(msg)
    if len(plan) < 2:
        msg = f"plan has {len(plan)} step: a value is learned at inner nodes, so give two steps or more"
        raise ValueError(msg)
    states, last, nfe = [], None, 0
    for population in populations(plan, model, n, x=x, seed=seed, threshold=0.0):
        states.append(_flat(population.x))
        last, nfe = population.x, population.nfe
    worth = np.asarray(on_host(reward(last)), dtype=np.float64)
    if worth.shape != (n,) or not np.isfinite(worth).all():
        msg = f"reward gave shape {worth.shape} for {n} samples, or infinite values or NaN: it must be one number each"
        raise ValueError(msg)
    chosen = monomials if features is None else features
    fits = [_fitted(z, worth / temperature, kind, chosen) for z in states[: len(plan) - 1]]
    found, centres, widths, lowest, highest = (np.array(part) for part in zip(*fits, strict=True))
    times = np.asarray(plan.times, dtype=np.float64)[1:-1]
    return LearnedValue(times, temperature * found, centres, widths, lowest, highest, chosen, nfe)


def monomials(z: FloatArray) -> FloatArray:
    """One, powers of every coordinate up to the fourth, and products of two coordinates; shape (n, k)."""
    n, d = z.shape
    powers = [z**k for k in range(1, DEGREE + 1)]
    i, j = np.triu_indices(d, 1)
    return np.concatenate([np.ones((n, 1)), *powers, z[:, i] * z[:, j]], axis=1)


def _fitted(x: FloatArray, worth: FloatArray, kind: str, features: FeatureMap) -> tuple[FloatArray, ...]:
    """Coefficients at one node, and how states are standardised."""
    centre, width = x.mean(axis=0), x.std(axis=0)
    width = np.where(width > 0.0, width, 1.0)
    z = (x - centre) / width
    rows = np.asarray(features(z), dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(x) or not np.all(rows[:, :1] == 1.0):
        msg = f"features gave shape {rows.shape} for {len(x)} states: it must be (n, k), and its first column 1"
        raise ValueError(msg)
    if 10 * rows.shape[1] > len(x):
        msg = f"n={len(x)}: {rows.shape[1]} features need {10 * rows.shape[1]} samples or more; or give features="
        raise ValueError(msg)
    found = _least_squares(rows, worth) if kind == "mean" else _log_mean(rows, worth)
    return found, centre, width, z.min(axis=0), z.max(axis=0)


def _least_squares(rows: FloatArray, worth: FloatArray) -> FloatArray:
    gram = rows.T @ rows + RIDGE * len(rows) * np.eye(rows.shape[1])
    return np.asarray(np.linalg.solve(gram, rows.T @ worth))


def _log_mean(rows: FloatArray, worth: FloatArray) -> FloatArray:
    """Coefficients of a logarithm of the mean of ``exp(worth)``: Newton's method on the loss of Poisson's law."""
    top = float(np.max(worth))
    target = np.exp(worth - top)
    found = _least_squares(rows, worth - top)
    penalty = RIDGE * float(target.mean()) * len(rows)

    def loss(c: FloatArray) -> float:
        with np.errstate(over="ignore"):
            return float(np.sum(np.exp(rows @ c) - target * (rows @ c)) + 0.5 * penalty * c @ c)

    value = loss(found)
    for _ in range(ROUNDS):
        mean = np.exp(rows @ found)
        slope = rows.T @ (mean - target) + penalty * found
        bend = (rows * mean[:, None]).T @ rows + penalty * np.eye(len(found))
        step, share = np.linalg.solve(bend, slope), 1.0
        while not loss(found - share * step) <= value and share > 1e-10:
            share *= 0.5
        gained = value - (new := loss(found - share * step))
        if not gained > 0.0:
            break
        found, value = found - share * step, new
        if gained < 1e-12 * abs(value):
            break
    found[0] += top
    return found


def _flat(x: Array) -> FloatArray:
    host: Any = on_host(x)
    return np.asarray(host, dtype=np.float64).reshape(len(host), -1)
