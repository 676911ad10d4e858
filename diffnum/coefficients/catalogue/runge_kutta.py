"""Records of the Runge-Kutta methods."""

from __future__ import annotations

from diffnum.coefficients import runge_kutta
from diffnum.coefficients.catalogue.families import fixed
from diffnum.coefficients.method import Method
from diffnum.forms import NOISE, RHO

__all__ = ["FAMILIES"]


def _edm_heun(name: str) -> Method:
    return Method(
        name=name,
        title="EDM Heun",
        family="heun",
        form=RHO,
        order=2,
        rule=runge_kutta.heun_step,
        depth=0,
        cite="karras2022edm",
        equation="algorithm 1",
        summary="Explicit trapezoidal rule in sigma/alpha; Euler on a step to sigma = 0.",
        claimed_order=2,
        order_with_startup=2,
        aliases={"diffusers": "HeunDiscreteScheduler", "k-diffusion": "sample_heun", "ComfyUI": "heun"},
        distinguish="Heun's method of order 3.",
    )


def _dpm_solver_3(name: str) -> Method:
    return Method(
        name=name,
        title="DPM-Solver-3 (singlestep)",
        family="dpm_solver_3",
        form=NOISE,
        order=3,
        rule=runge_kutta.dpm_solver_3_step,
        depth=0,
        cite="lu2022dpm",
        equation="algorithm 2",
        summary="Exponential Runge-Kutta method with inner nodes 1/3 and 2/3 of the step in half-log-SNR.",
        claimed_order=3,
        order_with_startup=3,
        aliases={
            "diffusers": 'DPMSolverSinglestepScheduler(algorithm_type="dpmsolver", solver_order=3)',
            "k-diffusion": "DPMSolver.dpm_solver_3_step",
        },
        distinguish="dpmpp_3m, which is multistep and predicts data.",
    )


FAMILIES = (
    fixed("edm_heun", _edm_heun, heun="edm_heun"),
    fixed("dpm_solver_3", _dpm_solver_3),
)
