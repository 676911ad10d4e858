r"""Diffusion posterior sampling: the likelihood of the predicted data stands for that of the state.

.. math:: \nabla_{x_t} \log p(Y \mid x_t) \approx -\frac{1}{2 \sigma_Y^2} \nabla_{x_t} \| Y - A \hat x_0(x_t) \|^2 .

The spread of the data around their prediction is left out, so that the pull is too strong wherever there is noise. What
the authors' code runs is another thing: a step of constant length along the gradient of the norm, whatever the noise.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from diffnum.inverse.problem import Inverse, Reading, hosted
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.plans import Plan
from diffnum.solver import Noise, State
from diffnum.types import Array

__all__ = ["SAMPLERS"]


def _score(look: Reading, problem: Inverse, options: Options) -> Array:
    """Predicted data moved by the score of the approximate likelihood."""
    residual = problem.residual(look.data) / problem.noise_std**2
    strength = options["scale"] * look.sigma**2 / look.alpha
    return look.data + strength * look.pull(problem.op.adjoint(residual))


def _by_norm(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    """After each step of the prior, a step of length ``scale`` down the gradient of the norm of the residual."""

    def moved(look: Reading, state: State) -> Array:
        xp = array_namespace(x)
        residual = problem.residual(look.data)
        squares = xp.sum(residual * residual, axis=tuple(range(1, residual.ndim)), keepdims=True)
        if options["joint"]:
            squares = xp.sum(squares, axis=0, keepdims=True)
        norm = xp.sqrt(squares)
        norm = xp.where(norm > 0.0, norm, xp.ones_like(norm))
        return state.x + options["scale"] * look.pull(problem.op.adjoint(residual / norm))

    return hosted(problem, plan, x, noise, _prior, moved)


def _by_square(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    """After each step of the prior, ``scale`` times the gradient of the squared residual downhill."""

    def moved(look: Reading, state: State) -> Array:
        return state.x + 2.0 * options["scale"] * look.pull(problem.op.adjoint(problem.residual(look.data)))

    return hosted(problem, plan, x, noise, _prior, moved)


def _prior(look: Reading) -> Array:
    return look.data


_COMMON: dict[str, Any] = {"cite": "chung2023dps", "needs": frozenset({"gradient"})}
_CODE = "DPS2022/diffusion-posterior-sampling at effbde73, guided_diffusion/condition_methods.py, PosteriorSampling"
_STEP: dict[str, Any] = {**_COMMON, "method": "ddpm", "takes": "steps of one evaluation"}

SAMPLERS = {
    "dps": PosteriorSampler(
        name="dps",
        title="gradient of the norm of the residual, as shipped",
        source="Chung et al. 2023, arXiv:2209.14687, Algorithm 1 with zeta_i = zeta' / ||y - A(x_0)||",
        launch=_by_norm,
        affine=False,
        options={"scale": 0.3, "joint": False},
        code=_CODE,
        deviations=(
            "the standard deviation of the noise does not enter: the step has the same length for any noise",
            "the gradient is that of the norm, half of zeta' / ||.|| times the gradient of its square",
            "the norm is taken over the whole batch, so that samples of one batch steer each other (joint=True); here "
            "each sample has its own",
        ),
        **_STEP,
    ),
    "dps_squared": PosteriorSampler(
        name="dps_squared",
        title="gradient of the squared residual, constant step",
        source="Chung et al. 2023, arXiv:2209.14687, Algorithm 1 with constant zeta_i",
        launch=_by_square,
        options={"scale": 0.3},
        deviations=("a constant step stands for the factor of the likelihood, which depends on step and noise",),
        **_STEP,
    ),
    "dps_score": PosteriorSampler(
        name="dps_score",
        title="the approximate likelihood in the score",
        source="Chung et al. 2023, arXiv:2209.14687, Section 3 (the approximation of the likelihood at x_0-hat), put "
        "into the score; scale = 1 adds no free factor",
        guess=_score,
        options={"scale": 1.0},
        **{**_COMMON, "needs": frozenset({"gradient", "noise"})},
    ),
}
