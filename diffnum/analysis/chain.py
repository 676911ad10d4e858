"""Chains of Euler-like steps of free length: their gain on Gaussian data, and their plan on a schedule.

A step ``z <- z + (zero^2 - level^2) / level * eps(z, level)`` in z = x / alpha multiplies a direction of variance c by
``(c + zero^2) / (c + level^2)``. Euler's step goes to the next level; this one goes as far as it is told.
"""

from __future__ import annotations

import operator
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from diffnum.grids import from_half_log_snr
from diffnum.plans import Plan
from diffnum.tableau import Tableau
from diffnum.types import FloatArray, Schedule

__all__ = [
    "NOISE_LEVELS",
    "VARIANCES",
    "Pair",
    "chain_plan",
    "chain_table",
    "checked_levels",
    "checked_nfe",
    "checked_spectrum",
    "checked_variances",
    "exact_gain",
    "gain",
]

NOISE_LEVELS = (80.0, 0.002)
"""First and last ``sigma / alpha`` of EDM's sampler (Karras et al. 2022, arXiv:2206.00364, ``edm_sampler``)."""

VARIANCES = (1e-4, 1.0)
"""Range of the eigenvalues of the covariance of standardised data."""

Pair = tuple[float, float]


def gain(levels: FloatArray, zeros: FloatArray, scale: float, c: FloatArray) -> FloatArray:
    """``scale * prod (c + zeros^2) / (c + levels^2)``, which is ``scale`` at infinity."""
    finite = np.where(np.isinf(c), 0.0, c)[..., None]
    product = scale * np.prod((finite + zeros**2) / (finite + levels**2), axis=-1)
    return np.asarray(np.where(np.isinf(c), scale, product))


def exact_gain(noise_levels: Pair, c: FloatArray) -> FloatArray:
    """Gain of the exact flow, 1 at infinity."""
    a, e = (level**2 for level in noise_levels)
    finite = np.where(np.isinf(c), 0.0, c)
    return np.asarray(np.where(np.isinf(c), 1.0, np.sqrt((finite + e) / (finite + a))))


def chain_plan(
    schedule: Schedule, noise_levels: Pair, levels: FloatArray, zeros: FloatArray, scale: float, name: str
) -> Plan:
    """Euler-like steps of free length, one an evaluation, as a plan of the noise prediction."""
    if not isinstance(schedule, Schedule):
        msg = f"schedule={schedule!r}: pass a schedule, such as diffnum.schedules.VPLinear()"
        raise TypeError(msg)
    with np.errstate(divide="ignore"):
        lam = -np.log(np.array([noise_levels[0], *levels, noise_levels[1]]))
    try:
        grid = from_half_log_snr(schedule, lam)
    except ValueError as error:
        msg = (
            f"noise levels {noise_levels[0]:g} to {noise_levels[1]:g} are not all on the schedule {schedule.name!r} "
            f"({error}): ask for the limit between sigma / alpha that it reaches"
        )
        raise ValueError(msg) from None
    alpha, sigma = (np.asarray(f(grid.t), dtype=np.float64) for f in (schedule.alpha, schedule.sigma))
    # the state waits at the level of the next evaluation; the first one, at the start of the run
    nodes = [0, *range(2, len(levels) + 2)]
    factors = np.ones(len(levels))
    factors[-1] = scale
    places = zip(pairwise(nodes), zeros, factors, strict=True)
    steps = tuple(
        _free_step(grid.t, alpha, sigma, (i, j, k), zero, factor)
        for j, ((i, k), zero, factor) in enumerate(places, start=1)
    )
    return Plan(name, "noise", schedule, steps, {}, "ramp", "stop", "noise")


def _free_step(
    t: FloatArray, alpha: FloatArray, sigma: FloatArray, nodes: tuple[int, int, int], zero: float, factor: float
) -> Tableau:
    """Step from one node to another, with the model called at a third; in x / alpha Euler's but for its length."""
    start, model, end = nodes
    level = sigma[model] / alpha[model]
    length = (zero**2 - level**2) / level
    return Tableau(
        ("x",), ("x",), (), float(t[start]), float(t[end]),
        t[model : model + 1].copy(), alpha[model : model + 1].copy(), sigma[model : model + 1].copy(),
        U=np.array([[alpha[model] / alpha[start]]]), A=np.zeros((1, 1)),
        V=np.array([[factor * alpha[end] / alpha[start]]]), B=np.array([[factor * alpha[end] * length]]),
        stage_noise=np.zeros((1, 0)), noise=np.zeros((1, 0)),
    )  # fmt: skip


def chain_table(title: str, levels: FloatArray, zeros: FloatArray, scale: float) -> str:
    """Levels and zeros as text."""
    rows = zip(levels, zeros, (zeros**2 - levels**2) / levels, strict=True)
    lines = [title, f"{'level':>12} {'zero':>12} {'step':>12}"]
    lines += [f"{level:>12.6g} {zero:>12.6g} {step:>12.6g}" for level, zero, step in rows]
    return "\n".join([*lines, f"in sigma / alpha; a constant factor {scale:.6g} follows"])


# -- checks ---------------------------------------------------------------------------------------------------


def checked_nfe(nfe: int) -> int:
    """Number of evaluations, at least 1."""
    if isinstance(nfe, (bool, np.bool_)):
        msg = f"nfe={nfe!r}: pass a whole number of evaluations"
        raise TypeError(msg)
    try:
        count = operator.index(nfe)
    except TypeError as error:
        msg = f"nfe={nfe!r}: pass a whole number of evaluations"
        raise TypeError(msg) from error
    if count < 1:
        msg = f"nfe={count}: a sampler needs at least 1 evaluation"
        raise ValueError(msg)
    return count


def checked_levels(noise_levels: Pair) -> Pair:
    """First and last ``sigma / alpha``, decreasing; their squares are finite."""
    try:
        start, end = (float(v) for v in noise_levels)
    except (TypeError, ValueError) as error:
        msg = f"noise_levels={noise_levels!r}: pass sigma / alpha at the start and at the end"
        raise TypeError(msg) from error
    if not 1e150 > start > end >= 0.0:
        msg = f"noise_levels={noise_levels!r}: give levels with 1e150 > start > end >= 0"
        raise ValueError(msg)
    return start, end


def checked_variances(name: str, c: ArrayLike) -> FloatArray:
    """Variances of any shape, >= 0, infinite ones allowed."""
    values = np.asarray(c, dtype=np.float64)
    if not (values >= 0.0).all():
        msg = f"{name}={c!r}: variances are >= 0"
        raise ValueError(msg)
    return values


def checked_spectrum(variances: ArrayLike, weights: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Finite variances >= 0 and a weight for each, shape (d,)."""
    c = np.atleast_1d(np.asarray(variances, dtype=np.float64))
    if c.ndim != 1 or not c.size or not np.isfinite(c).all() or (c < 0.0).any():
        msg = f"variances={variances!r}: give the variances of the data, finite and >= 0, shape (d,)"
        raise ValueError(msg)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape not in ((), c.shape) or not np.isfinite(given).all() or (given < 0.0).any() or not given.any():
        msg = f"weights={weights!r}: give one number >= 0, or one for each of {c.size} variances, not all 0"
        raise ValueError(msg)
    return c, np.array(np.broadcast_to(given, c.shape))
