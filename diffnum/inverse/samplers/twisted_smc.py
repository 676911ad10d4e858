r"""Twisted sequential Monte Carlo: particles guided like diffusion posterior sampling, and weighed for it.

Samples are drawn by weight from a population of each measurement. As particles grow in number the law tends to the
posterior of the plan, whatever the guidance; the bias that is left is that of the steps.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.inverse.problem import OWN_DRAWS, Inverse, start_of
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.particles.population import run
from diffnum.particles.steering import LogLikelihood, twisted
from diffnum.particles.weighted import on_host
from diffnum.plans import Plan
from diffnum.solver import Noise
from diffnum.types import Array, Schedule

__all__ = ["SAMPLERS"]


def _log_likelihood(problem: Inverse, particles: int) -> LogLikelihood:
    """Of the measurement that goes with each particle."""

    def log_likelihood(x: Array) -> tuple[Array, Array]:
        xp = array_namespace(x)
        residual = (_repeated(problem, x, particles) - problem.op(x)) / problem.noise_std
        axes = tuple(range(1, residual.ndim))
        constant = -math.prod(problem.op.measured) * math.log(math.sqrt(2.0 * math.pi) * problem.noise_std)
        return constant - 0.5 * xp.sum(residual * residual, axis=axes), problem.op.adjoint(residual / problem.noise_std)

    return log_likelihood


def _along(problem: Inverse, particles: int, prior: float, schedule: Schedule) -> Any:
    """Likelihood that is wider by the variance of isotropic data given the state; None where that is left out.

    Constants that are the same for all particles cancel from node to node.
    """
    if not prior:
        return None

    def along(x: Array, t: float) -> tuple[Array, Array]:
        xp = array_namespace(x)
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        variance = prior * sigma**2 / (prior * alpha**2 + sigma**2)
        residual = _repeated(problem, x, particles) - problem.op(x)
        explained = problem.op.solve_measured(residual, variance, problem.noise_std**2)
        axes = tuple(range(1, residual.ndim))
        return -0.5 * xp.sum(residual * explained, axis=axes), problem.op.adjoint(explained)

    return along


def _repeated(problem: Inverse, x: Array, particles: int) -> Array:
    """Measurement of each particle, or one for all."""
    y = problem.measurement(x)
    return y if y.shape[0] == 1 else array_namespace(x).repeat(y, particles, axis=0)


def _launch(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    if not any(step.noises for step in plan.steps):
        msg = (
            f"plan: {plan.method!r} draws no noise, and particles are told apart by theirs; use 'sde_dpmpp_1' and the "
            "like"
        )
        raise ValueError(msg)
    xp, n = array_namespace(x), int(x.shape[0])
    y = on_host(problem.measurement(x))
    # samples of one measurement that follow each other share a population
    flat = y.reshape(len(y), -1)
    changes = np.flatnonzero(np.any(flat[1:] != flat[:-1], axis=1)) + 1
    sizes = np.diff([0, *changes.tolist(), len(y)])
    each = n if len(y) == 1 else int(np.gcd.reduce(sizes))
    islands, k = n // each, max(options["particles"], each)
    measured = replace(problem, y=problem.y if len(y) == 1 else problem.y[::each])
    many = xp.repeat(0.0 * x[::each], k, axis=0)
    start = start_of(plan, noise(0, OWN_DRAWS, many))
    # the populations have a seed of their own, which this source of noise decides
    seed = int(np.abs(on_host(noise(1, OWN_DRAWS, x[:1]))).ravel()[:1].view(np.uint64)[0])
    along = _along(measured, k, options["variance"], plan.schedule)
    sampler = twisted(problem.model, _log_likelihood(measured, k), along=along)
    population = run(plan, sampler, islands * k, x=start, islands=islands, seed=seed, threshold=options["threshold"])
    logs = population.log_weights.reshape(islands, k)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    total = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    points = (np.arange(each) + np.random.default_rng(seed).random((islands, 1))) / each
    chosen = np.array([np.searchsorted(row, at) for row, at in zip(total, points, strict=True)])
    places = np.minimum(chosen, k - 1) + k * np.arange(islands)[:, None]
    return xp.take(population.x, xp.asarray(places.ravel(), device=device(x)), axis=0)


_COMMON: dict[str, Any] = {
    "source": "Wu et al. 2023, arXiv:2306.17775, Algorithm 1",
    "cite": "wu2023practical",
    "launch": _launch,
    "method": "sde_dpmpp_1",
    "takes": "single steps",
    "affine": False,
    "needs": frozenset({"gradient", "noise"}),
    "consistent": True,
}
_RESAMPLED = "particles are resampled where fewer than half are effective, systematically"

SAMPLERS = {
    "twisted": PosteriorSampler(
        name="twisted",
        title="guided particles with weights",
        options={"particles": 512, "threshold": 0.5, "variance": 0.0},
        deviations=(_RESAMPLED,),
        **_COMMON,
    ),
    "twisted_wide": PosteriorSampler(
        name="twisted_wide",
        title="the same, guided by a likelihood with the variance of isotropic data",
        options={"particles": 512, "threshold": 0.5, "variance": 1.0},
        deviations=(_RESAMPLED, "on the way the likelihood is that of pseudo-inverse guidance; the target is the same"),
        **_COMMON,
    ),
}
