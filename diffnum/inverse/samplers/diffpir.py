r"""Plug-and-play restoration by a diffusion model: a proximal step on the predicted data, and noise put back.

:math:`\hat x_0' = \arg\min_x \| Y - A x \|^2 + \rho_t \| x - \hat x_0 \|^2` with
:math:`\rho_t = \lambda \sigma_Y^2 \alpha^2 / \sigma^2`, then
:math:`x_s = \alpha_s \hat x_0' + \sigma_s (\sqrt{1 - \zeta}\, \hat\epsilon' + \sqrt{\zeta}\, z)`.
"""

from __future__ import annotations

from diffnum.inverse.problem import OWN_DRAWS, Inverse, stepped
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.plans import Plan
from diffnum.solver import Noise
from diffnum.types import Array

__all__ = ["SAMPLERS"]


def _launch(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    zeta, op, y = options["zeta"], problem.op, problem.measurement(x)
    spread = options["noise_factor"] * problem.noise_std

    def advance(step: int, t: float, t_next: float, x: Array) -> Array:
        look = problem.look(x, t, derivative=False)
        gamma = look.level**2 / (options["weight"] * spread**2)
        data = op.solve(look.data + gamma * op.adjoint(y), gamma)
        alpha, sigma = float(plan.schedule.alpha(t_next)), float(plan.schedule.sigma(t_next))
        after = alpha * data + sigma * (1.0 - zeta) ** 0.5 * look.noise_of(data)
        return after + sigma * zeta**0.5 * noise(step, OWN_DRAWS, x) if zeta else after

    return stepped(plan, x, advance)


SAMPLERS = {
    "diffpir": PosteriorSampler(
        name="diffpir",
        title="proximal step on the predicted data, noise put back",
        source="Zhu et al. 2023, arXiv:2305.08995, Algorithm 1",
        cite="zhu2023denoising",
        launch=_launch,
        takes="nodes",
        needs=frozenset({"noise"}),
        options={"weight": 1.0, "zeta": 1.0, "noise_factor": 1.0},
        code="yuanzhi-zhu/DiffPIR at 111d26e8, main_ddpir_inpainting.py",
        deviations=(
            "the code measures the noise on images of [0, 1] and works on [-1, 1], where it is twice that: its rho "
            "is a "
            "quarter (noise_factor=0.5)",
            "measured pixels are pasted into the state after the image has been made, which changes nothing",
        ),
    ),
}
