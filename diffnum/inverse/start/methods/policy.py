r"""A normal law of the start with independent entries, by the score function of its samples: no derivative of the run.

The free energy :math:`E_q[L] + w\,\mathrm{KL}(q \| N(0, I))` over :math:`q = N(\mu, \operatorname{diag} s^2)` is
lowered by samples of q: their losses less the mean of the others, times the score of q, in steps of Adam. Samples serve
several steps, with the ratio of densities clipped. On a quadratic problem the least value lies at the exact mean with
:math:`s_i^{-2}` the diagonal of the exact precision; what correlates the entries is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffnum.inverse.start.problem import StartProblem
from diffnum.inverse.start.record import StartAnswer, StartMethod
from diffnum.types import FloatArray

__all__ = ["STARTS"]

BETAS = (0.9, 0.99)
"""Decay of Adam's averages."""

EPSILON = 1e-8


def _log_density(z: FloatArray, mean: FloatArray, log_s: FloatArray) -> FloatArray:
    """Of a normal with independent entries, less a constant."""
    return np.asarray(-0.5 * np.sum(((z - mean) * np.exp(-log_s)) ** 2, axis=1) - np.sum(log_s))


def _divergence(mean: FloatArray, log_s: FloatArray) -> float:
    """KL(q || N(0, I))."""
    return float(0.5 * np.sum(mean**2 + np.exp(2 * log_s) - 1.0) - np.sum(log_s))


def _tries(problem: StartProblem, seed: int, options: Mapping[str, Any]) -> StartAnswer:
    generator = np.random.default_rng(seed)
    count, clip, rounds, epochs = (options[k] for k in ("samples", "clip", "rounds", "epochs"))
    if count < 2:
        msg = f"samples={count}: the mean of the others takes at least 2"
        raise ValueError(msg)
    if not 0.0 < clip < 1.0:
        msg = f"clip={clip!r}: give the largest change of a ratio of densities, between 0 and 1"
        raise ValueError(msg)
    d, w = problem.dimension, problem.weight
    numbers = np.concatenate([problem.first, np.zeros(d)])
    first, second, made = np.zeros(2 * d), np.zeros(2 * d), 0
    curve: list[tuple[int, float]] = []
    for number in range(rounds):
        mean, log_s = numbers[:d], numbers[d:]
        z = mean + np.exp(log_s) * generator.standard_normal((count, d))
        losses, old = problem.losses(z), _log_density(z, mean, log_s)
        curve.append((problem.evaluations, float(losses.mean()) + w * _divergence(mean, log_s)))
        excess = (losses - losses.mean()) * count / (count - 1)
        # towards the end the steps shrink, so that the noise of the gradients is averaged out
        rate = options["rate"] * 0.5 * (1.0 + np.cos(np.pi * number / rounds))
        for _ in range(epochs):
            mean, log_s = numbers[:d], numbers[d:]
            ratio = np.exp(_log_density(z, mean, log_s) - old)
            clipped = np.where(excess < 0, ratio > 1 + clip, ratio < 1 - clip)
            share = np.where(clipped, 0.0, excess * ratio)[:, None] / count
            away = (z - mean) * np.exp(-log_s)
            slope = np.concatenate(
                [
                    np.sum(share * away * np.exp(-log_s), axis=0) + w * mean,
                    np.sum(share * (away**2 - 1.0), axis=0) + w * (np.exp(2 * log_s) - 1.0),
                ]
            )
            made += 1
            first = BETAS[0] * first + (1 - BETAS[0]) * slope
            second = BETAS[1] * second + (1 - BETAS[1]) * slope**2
            step = first / (1 - BETAS[0] ** made) / (np.sqrt(second / (1 - BETAS[1] ** made)) + EPSILON)
            numbers = numbers - rate * step
    return StartAnswer(numbers[:d], np.diag(np.exp(numbers[d:])), tuple(curve), f"{rounds} rounds as asked")


STARTS = {
    "policy": StartMethod(
        name="policy",
        title="policy gradient on a normal start",
        source="Chen et al. 2024 (FIND), arXiv:2407.19453, one-step decision process over the initial distribution",
        cite="chen2024find",
        tries=_tries,
        finds="law",
        gradient=False,
        options={"samples": 64, "rounds": 200, "epochs": 2, "rate": 0.05, "clip": 0.2},
        deviations=(
            "the divergence from the prior is part of the problem; the paper restrains the law by clipped ratios alone",
            "the mean of the other samples' losses is subtracted, in place of a network that predicts it",
        ),
    )
}
