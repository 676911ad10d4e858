r"""Regularisation by denoising diffusion: one point, optimised by Adam while the noise level falls.

The published objective is a divergence from the posterior over Gaussians of variance 0. So there is nothing to sample:
what differs between runs is what the noise in the gradients leaves.
"""

from __future__ import annotations

import math

from array_api_compat import array_namespace

from diffnum.inverse.problem import OWN_DRAWS, Inverse, stepped
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.plans import Plan
from diffnum.solver import Noise
from diffnum.types import Array

__all__ = ["SAMPLERS"]

BETAS = (0.9, 0.99)
"""Decay of Adam's averages, as the code sets them."""

EPSILON = 1e-8


def _launch(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    op, xp = problem.op, array_namespace(x)
    entries, measured = math.prod(op.shape), math.prod(op.measured)
    point = op.pseudo_inverse(problem.measurement(x)) + 0.0 * x
    first, second = 0.0 * x, 0.0 * x

    def advance(step: int, t: float, t_next: float, point: Array) -> Array:  # noqa: ARG001
        nonlocal first, second
        z = noise(step, OWN_DRAWS, point)
        alpha, sigma = float(plan.schedule.alpha(t)), float(plan.schedule.sigma(t))
        look = problem.look(alpha * point + sigma * z, t, derivative=False)
        weight = options["weight"] * look.level
        slope = weight / entries * (look.noise - z) - options["obs_weight"] / measured * op.adjoint(
            problem.residual(point)
        )
        first = BETAS[0] * first + (1.0 - BETAS[0]) * slope
        second = BETAS[1] * second + (1.0 - BETAS[1]) * slope * slope
        ahead, spread = first / (1.0 - BETAS[0] ** (step + 1)), second / (1.0 - BETAS[1] ** (step + 1))
        return point - options["lr"] * ahead / (xp.sqrt(spread) + EPSILON)

    return stepped(plan, point, advance)


SAMPLERS = {
    "red_diff": PosteriorSampler(
        name="red_diff",
        title="one point, optimised by Adam",
        source="Mardani, Song, Kautz and Vahdat 2024, arXiv:2305.04391, Algorithm 1",
        cite="mardani2024variational",
        launch=_launch,
        takes="nodes",
        affine=False,
        needs=frozenset({"modes"}),
        options={"lr": 0.1, "weight": 0.25, "obs_weight": 1.0},
        returns="data",
        code="NVlabs/RED-diff at 66482f23, algos/reddiff.py, REDDIFF.sample; _configs/algo/reddiff.yaml",
        deviations=(
            "both terms of the loss are means over entries, so that their weights depend on the numbers of pixels "
            "and of "
            "measurements",
            "the noise of the measurement does not enter: obs_weight stands for it",
        ),
    ),
}
