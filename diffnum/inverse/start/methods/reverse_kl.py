r"""A law of the start as the image of normals under an invertible map, by its divergence from the target.

The map is affine, :math:`z = \mu + T u` with T lower triangular, and what is minimised is
:math:`E_u[L(F(\sigma z))] + w\,\mathrm{KL}`. The normals are a fixed sample with mean 0 and covariance I exactly, so
that the mean of a quadratic over them is exact: on Gaussian problems the map found is the law of the start given the
loss, to rounding. A law of several modes is no affine image of a normal, and of those it covers one, or all and what is
between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffnum.inverse.start.minimising import minimised
from diffnum.inverse.start.problem import StartProblem
from diffnum.inverse.start.record import StartAnswer, StartMethod
from diffnum.types import FloatArray

__all__ = ["STARTS", "matched_normals"]


def matched_normals(count: int, dimension: int, seed: int) -> FloatArray:
    """Normals of sample mean 0 and sample covariance I, shape (count, dimension).

    Parameters
    ----------
    count : int
        How many, more than ``dimension``.
    dimension : int
        Entries of each.
    seed : int
        Seed.
    """
    u = np.random.default_rng(seed).standard_normal((count, dimension))
    u = u - u.mean(axis=0)
    factor = np.linalg.cholesky(u.T @ u / count)
    return np.asarray(np.linalg.solve(factor, u.T).T)


def _tries(problem: StartProblem, seed: int, options: Mapping[str, Any]) -> StartAnswer:
    d, count, w = problem.dimension, options["samples"], problem.weight
    if count <= d:
        msg = f"samples={count}: an exact covariance of {d} entries takes at least {d + 1}"
        raise ValueError(msg)
    if w <= 0.0:
        msg = f"weight={w!r}: the divergence has weight 0, and the best law is a point; use 'descent'"
        raise ValueError(msg)
    u = matched_normals(count, d, seed)
    below = np.diag_indices(d) if options["independent"] else np.tril_indices(d)
    on = below[0] == below[1]

    def factor_of(numbers: FloatArray) -> FloatArray:
        factor = np.zeros((d, d))
        factor[below] = np.where(on, np.exp(np.where(on, numbers, 0.0)), numbers)
        return factor

    def free_energy(numbers: FloatArray) -> tuple[float, FloatArray]:
        mean, factor = numbers[:d], factor_of(numbers[d:])
        losses, slopes = problem.losses_and_slopes(mean + u @ factor.T)
        spread = np.sum(factor**2) - d
        value = losses.mean() + w * (0.5 * (mean @ mean + spread) - np.sum(numbers[d:][on]))
        by_factor = slopes.T @ u / count + w * factor
        inner = by_factor[below] * np.where(on, factor[below], 1.0) - w * on
        return float(value), np.concatenate([slopes.mean(axis=0) + w * mean, inner])

    first = np.concatenate([problem.first, np.zeros(len(below[0]))])
    numbers, curve, reason = minimised(free_energy, first, options["iterations"], problem)
    return StartAnswer(numbers[:d], factor_of(numbers[d:]), curve, reason)


STARTS = {
    "reverse_kl": StartMethod(
        name="reverse_kl",
        title="invertible map of normals, by reverse divergence",
        source="Wu et al. 2022 (PromptGen), arXiv:2209.06970, an invertible network stands for the energy-based model",
        cite="wu2022promptgen",
        tries=_tries,
        finds="law",
        gradient=True,
        options={"samples": 128, "iterations": 200, "independent": False},
        code="ChenWu98/generative-visual-prompt at 24b8b2bf, model/prompt_gan.py, PromptGAN.forward",
        deviations=(
            "the map is affine, in place of an invertible network",
            "a fixed sample of normals with exact moments, in place of fresh ones",
        ),
    )
}
