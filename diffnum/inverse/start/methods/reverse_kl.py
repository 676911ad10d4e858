r"""A law of the start as the image of normals under an invertible map, by its divergence from the target.

What is minimised is :math:`E_q[L(F(\sigma z))] + w\,\mathrm{KL}(q \,\|\, N(0, I))` over the laws q of the images.

*Affine*, :math:`z = \mu + T u` with T lower triangular. The normals are a fixed sample with mean 0 and covariance I
exactly, so that the mean of a quadratic over them is exact: on Gaussian problems the map found is the law of the start
given the loss, to rounding. A law of several modes is no affine image of a normal, and of those it covers one, or all
and what is between them.

*Couplings* (:mod:`diffnum.inverse.start.coupling`) before the affine map, by Adam on fresh normals in pairs u, -u,
while the loss grows from nothing, so that the map parts before a mode is lost. The slope is the sum over samples of
:math:`(\nabla L + w z + w \nabla \log q) \cdot \partial z`: it leaves out a term of mean zero and vanishes for every
sample where q is the best law, so that the optimum of a Gaussian problem, which is affine, is a fixed point and not an
average.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffnum.inverse.start.coupling import CouplingMap, Mapped
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
    _check_weight(w)
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


BETAS = (0.9, 0.99)
"""Decay of Adam's averages."""

EPSILON = 1e-8


def _coupled(problem: StartProblem, seed: int, options: Mapping[str, Any]) -> StartAnswer:
    d, count, rounds, w = problem.dimension, options["samples"], options["rounds"], problem.weight
    _check_weight(w)
    annealed = options["annealed"]
    if not 0.0 <= annealed < 1.0:
        msg = f"annealed={annealed!r}: give the share of the rounds over which the loss grows, from 0 to below 1"
        raise ValueError(msg)
    flow = CouplingMap(d, options["couplings"], options["hidden"], options["independent"], seed)
    generator = np.random.default_rng((seed, 2))
    numbers = flow.first(problem.first)
    first, second = np.zeros_like(numbers), np.zeros_like(numbers)
    curve: list[tuple[int, float]] = []
    for number in range(rounds):
        losses, share = np.zeros(count), min(1.0, (number + 1) / (annealed * rounds + 1))

        def pull(mapped: Mapped, share: float = share) -> FloatArray:
            nonlocal losses
            losses, slopes = problem.losses_and_slopes(mapped.z)
            return np.asarray((share * slopes + w * (mapped.z + mapped.score)) / count)

        half = generator.standard_normal(((count + 1) // 2, d))
        mapped, slope = flow.gradient(numbers, np.concatenate([half, -half])[:count], pull)
        beforehand = -0.5 * np.sum(mapped.z**2, axis=1) - 0.5 * d * np.log(2.0 * np.pi)
        curve.append((problem.evaluations, float(np.mean(losses + w * (mapped.log_density - beforehand)))))
        first = BETAS[0] * first + (1 - BETAS[0]) * slope
        second = BETAS[1] * second + (1 - BETAS[1]) * slope**2
        step = first / (1 - BETAS[0] ** (number + 1)) / (np.sqrt(second / (1 - BETAS[1] ** (number + 1))) + EPSILON)
        numbers = numbers - options["rate"] * 0.5 * (1.0 + np.cos(np.pi * number / rounds)) * step

    def found(u: FloatArray) -> tuple[FloatArray, FloatArray]:
        z, log_density, _ = flow.map(numbers, u)
        return z, log_density

    return StartAnswer(found(np.zeros((1, d)))[0][0], None, tuple(curve), f"{rounds} rounds as asked", found)


def _check_weight(weight: float) -> None:
    if weight <= 0.0:
        msg = f"weight={weight!r}: the divergence has weight 0, and the best law is a point; use 'descent'"
        raise ValueError(msg)


_SOURCE: dict[str, Any] = {
    "source": "Wu et al. 2022 (PromptGen), arXiv:2209.06970, an invertible network stands for the energy-based model",
    "cite": "wu2022promptgen",
    "finds": "law",
    "gradient": True,
    "code": "ChenWu98/generative-visual-prompt at 24b8b2bf, model/prompt_gan.py, PromptGAN.forward",
}

STARTS = {
    "reverse_kl": StartMethod(
        name="reverse_kl",
        title="affine map of normals, by reverse divergence",
        tries=_tries,
        options={"samples": 128, "iterations": 200, "independent": False},
        deviations=(
            "the map is affine, in place of an invertible network",
            "a fixed sample of normals with exact moments, in place of fresh ones",
        ),
        **_SOURCE,
    ),
    "reverse_kl_coupling": StartMethod(
        name="reverse_kl_coupling",
        title="nonlinear invertible map of normals, by reverse divergence",
        tries=_coupled,
        options={
            "samples": 64,
            "rounds": 400,
            "rate": 0.03,
            "couplings": 4,
            "hidden": 16,
            "annealed": 0.5,
            "independent": False,
        },
        deviations=(
            "couplings by increasing functions with a bend, in place of the code's invertible network",
            "the part of the slope whose mean is zero is left out, and the loss grows over the first rounds",
        ),
        **_SOURCE,
    ),
}
