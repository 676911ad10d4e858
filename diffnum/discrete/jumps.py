"""The reverse chain itself: its generator, its exact law, and exact simulation by uniformisation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from diffnum.discrete.checks import TokenArray, checked_law, checked_time
from diffnum.discrete.enumeration import Enumerated, StateSpace
from diffnum.discrete.models import answered
from diffnum.discrete.processes import TokenProcess
from diffnum.types import FloatArray

__all__ = ["Uniformisation", "generator", "reverse_law"]

SLACK = 1.0 + 1e-9
"""Bounds are raised by so much, against rounding."""


def generator(space: Enumerated, t: float) -> Any:
    """Generator of the exact reverse chain at time t.

    Parameters
    ----------
    space : StateSpace or ModelSpace
        The states.
    t : float
        Time in (0, 1]; at its ends rates may be infinite.

    Returns
    -------
    scipy.sparse.csr_array, shape (N, N)
        Rates in 1/time from the state of the row to that of the column; rows sum to zero.

    Raises
    ------
    ValueError
        If t lies outside, or rates are infinite or negative there.
    """
    from scipy import sparse

    checked_time("t", t, open_end=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        speed = space.process.clock_rate(np.float64(t))
    if not np.isfinite(speed):
        msg = f"t={t:g}: the reverse rates of the {space.process.name} process are infinite there, take a t inside"
        raise ValueError(msg)
    rates = space.process.rates(space.denoised(t), space.states, t)
    row, place, letter = np.nonzero(rates)
    powers = space.letters ** np.arange(space.length - 1, -1, -1)
    to = row + (letter - space.states[row, place]) * powers[place]
    values = rates[row, place, letter]
    if values.size and values.min() < 0:
        msg = f"a reverse rate at t={t:g} is negative ({values.min():g}): check the process"
        raise ValueError(msg)
    shape = (space.size, space.size)
    return sparse.csr_array((values, (row, to)), shape=shape) - sparse.diags_array(rates.sum(axis=(1, 2)))


def reverse_law(space: StateSpace, t: float, s: float, law: FloatArray | None = None) -> FloatArray:
    """Law of the exact reverse chain at time s, from a law at time t > s, by the Kolmogorov equation.

    Parameters
    ----------
    space : StateSpace
        States and their chain.
    t, s : float
        Times, t > s.
    law : ndarray, shape (N,), optional
        Law at time t; the exact marginal by default, and then the result is the exact marginal again.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If the times do not fall, or the law has another number of states.
    """
    from scipy.integrate import solve_ivp

    if not t > s:
        msg = f"t={t:g}, s={s:g}: the reverse chain runs from t down to s < t"
        raise ValueError(msg)
    start = space.marginal(t) if law is None else checked_law("law", law, ndim=1)
    if start.size != space.size:
        msg = f"law has {start.size} entries: pass one for each of the {space.size} states"
        raise ValueError(msg)
    run = solve_ivp(
        lambda tau, p: generator(space, t - tau).T @ p, (0.0, t - s), start, method="DOP853", rtol=1e-10, atol=1e-13
    )
    return np.asarray(run.y[:, -1])


@dataclass(frozen=True)
class Uniformisation:
    """Exact simulation: candidate times at a rate that bounds the chain's, thinned.

    Parameters
    ----------
    end : float
        Time, > 0, from which the bridge to the data is drawn instead, as the rates grow without bound. The law of the
        output is that of the chain at ``end`` under the bridge.
    """

    end: float = 1e-3

    def __post_init__(self) -> None:
        if not 0.0 < self.end < 1.0:
            msg = f"end={self.end}: use a time in (0, 1); rates have no bound at 0"
            raise ValueError(msg)

    def bound(self, process: TokenProcess, x: TokenArray, tokens: int, t: float, s: float) -> FloatArray:
        """Bound of the total rate of each state, shape (n,), over the times from t down to s."""
        speed = max(float(np.max(process.clock_rate(np.linspace(s, t, 17)))), 0.0) * SLACK
        if process.time_free:
            return np.asarray(speed * np.sum(x == tokens, axis=1))
        alpha = float(process.survival.alpha(s))
        return np.full(len(x), speed * x.shape[1] / tokens * (tokens - 1 + tokens * alpha / (1.0 - alpha)))

    def draw(
        self, model: Any, process: TokenProcess, x: TokenArray, nodes: FloatArray, rng: np.random.Generator
    ) -> tuple[TokenArray, int]:
        """Run a batch over blocks of time; returns the states and the number of evaluations of the longest run."""
        x, calls = x.copy(), 0
        for t, s in pairwise(nodes.tolist()):
            bound = self.bound(process, x, model.tokens, t, s)
            now = np.full(len(x), t)
            alive = bound > 0
            while alive.any():
                at = np.flatnonzero(alive)
                now[at] -= rng.exponential(size=at.size) / bound[at]
                at = at[now[at] > s]
                alive[:] = False
                alive[at] = True
                if not at.size:
                    break
                # the whole batch, as in every sampler: a model with a label for each sequence knows them by their place
                p = answered(model, x, np.maximum(now, s))
                rates = process.rates(p[at], x[at], now[at])
                calls += 1
                x[at] = self._jumped(rates, x[at], bound[at], rng)
        return x, calls

    def _jumped(self, rates: FloatArray, x: TokenArray, bound: FloatArray, rng: np.random.Generator) -> TokenArray:
        """States after one candidate time each."""
        flat = rates.reshape(len(x), -1)
        total = flat.sum(axis=1)
        if np.any(total > bound * (1 + 1e-6)):
            msg = (
                f"a total rate of {float(total.max()):g} exceeds the bound {float(bound.max()):g}: "
                "the model's marginals do not sum to one, or the schedule's hazard has a peak inside a block of time"
            )
            raise ValueError(msg)
        u = rng.random(len(x)) * bound
        go = u < total
        pick = np.sum(u[:, None] >= np.cumsum(flat, axis=1), axis=1)
        place, letter = np.divmod(np.minimum(pick, flat.shape[1] - 1), rates.shape[2])
        x = x.copy()
        x[np.flatnonzero(go), place[go]] = letter[go]
        return x
