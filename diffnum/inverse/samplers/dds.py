r"""Decomposed diffusion sampling: the predicted data are moved towards the measurement by a few conjugate gradients.

:math:`(I + \gamma A^T A)\, \hat x_0' = \hat x_0 + \gamma A^T Y`, and then a DDIM step with the predicted noise as it
was. With :math:`\gamma_t = \operatorname{Var}(x_0 \mid x_t) / \sigma_Y^2` that is the posterior mean of data
:math:`N(m, cI)`; and the noise that goes with it is another one.
"""

from __future__ import annotations

import math

from diffnum.inverse.problem import OWN_DRAWS, Inverse, Reading, stepped
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.inverse.samplers.pseudo_inverse import isotropic_variance
from diffnum.plans import Plan
from diffnum.solver import Noise
from diffnum.types import Array

__all__ = ["SAMPLERS"]


def _proximal(look: Reading, problem: Inverse, gamma: float, iterations: int) -> Array:
    """Predicted data closer to the measurement; iterations of conjugate gradients from where they were, 0 for exact."""
    op, y = problem.op, problem.measurement(look.data)
    return op.solve(look.data + gamma * op.adjoint(y), gamma, start=look.data, iterations=iterations)


def _launch(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    eta, last = options["eta"], len(plan) - 1

    def moved(look: Reading) -> Array:
        return _proximal(look, problem, options["gamma"], options["iterations"])

    def advance(step: int, t: float, t_next: float, x: Array) -> Array:
        look = problem.look(x, t, derivative=False)
        data = moved(look)
        if step == last and options["early"]:
            return data
        alpha, sigma = float(plan.schedule.alpha(t_next)), float(plan.schedule.sigma(t_next))
        predicted = look.noise_of(data) if options["recomputed"] else look.noise
        after = alpha * data + sigma * math.sqrt(1.0 - eta**2) * predicted
        return after + sigma * eta * noise(step, OWN_DRAWS, x) if eta else after

    end = stepped(plan, x, advance)
    return moved(problem.look(end, float(plan.times[-1]), derivative=False))


def _corrected(look: Reading, problem: Inverse, options: Options) -> Array:
    gamma = isotropic_variance(look, options["variance"]) / problem.noise_std**2
    return _proximal(look, problem, gamma, 0)


SAMPLERS = {
    "dds": PosteriorSampler(
        name="dds",
        title="proximal step by conjugate gradients, noise as predicted by the prior",
        source="Chung, Lee and Ye 2024, arXiv:2303.05754, Algorithm 1 (noisy measurements)",
        cite="chung2024dds",
        launch=_launch,
        takes="nodes",
        returns="data",
        options={"gamma": 1.0, "eta": 0.85, "iterations": 5, "recomputed": False, "early": True},
        code="HJ-harry/DDS at 509b140e, solver_2d.py, Diffusion.dds",
        deviations=(
            "gamma is one number for all steps; the posterior of isotropic data has Var(x_0 | x_t) / sigma_Y^2",
            "the noise sqrt(1 - alpha^2) eta is not that of DDIM's eta",
            "the predicted noise is that of the prior, not the one that goes with the moved data",
            "the branch for the last step is taken one step early, at j == 0: the state that enters the last "
            "evaluation has lost its noise (early=False keeps it)",
        ),
    ),
    "dds_corrected": PosteriorSampler(
        name="dds_corrected",
        title="proximal step with the weight of isotropic data, noise recomputed",
        source="Chung, Lee and Ye 2024, arXiv:2303.05754, Algorithm 1, with gamma_t = Var(x_0 | x_t) / sigma_Y^2",
        cite="chung2024dds",
        guess=_corrected,
        needs=frozenset({"noise"}),
        options={"variance": 1.0},
    ),
}
