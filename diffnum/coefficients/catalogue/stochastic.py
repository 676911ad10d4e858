"""Records of the stochastic methods.

``order`` is the deterministic order of the same weights in the limit of no noise; the orders with noise are in
:class:`~diffnum.coefficients.noise.Noise`, with the tau of the equation that the method approaches. Names that end in
``_given`` take it from the caller, one number an interval.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from diffnum.coefficients import stochastic
from diffnum.coefficients.adams import (
    dpmpp_2m_step,
    dpmpp_3m_corrected_step,
    exponential_adams_step,
)
from diffnum.coefficients.catalogue.members import Members
from diffnum.coefficients.method import Method
from diffnum.coefficients.noise import Noise, Scheme
from diffnum.coefficients.programme import Rule
from diffnum.coefficients.runge_kutta import exponential_runge_kutta_step
from diffnum.forms import DATA, NOISE, SemilinearForm
from diffnum.tableau import Step

__all__ = ["FAMILY"]

LEVEL = r"(?:_tau(\d+(?:\.\d+)?)|_(given))?"
"""Optional noise level at the end of a name: a number, or what the caller gives; 1, the time reversal, without it."""


@dataclass(frozen=True)
class _Recipe:
    """What distinguishes one method on the reverse equation from another."""

    title: str
    base: Rule
    derivation: str
    order: int
    weak_order: int
    cite: str
    equation: str
    summary: str
    form: SemilinearForm = DATA
    depth: int = 0
    highest: int = 0
    claimed_order: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    distinguish: str = ""


_KD = "k-diffusion 0.1.1, sampling.py, "
_DIFFUSERS = "diffusers 0.42.1, scheduling_dpmsolver_multistep.py, sde-dpmsolver"

_RECIPES: Mapping[str, _Recipe] = {
    "sde_dpmpp_1": _Recipe(
        "SDE-DPM-Solver++(1)", exponential_adams_step, "adams", 1, 1, "lu2022dpmpp",
        f"SDE-DPM-Solver++1; {_KD}sample_dpmpp_2m_sde (first step)",
        "Exponential Euler on the reverse equation, data prediction held constant.",
        aliases={
            "diffusers": 'DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", solver_order=1)',
            "papers": "gDDIM of noise level lambda = tau, for processes with scalar alpha and sigma",
        },
        distinguish="sde_dpm_1, which holds the noise prediction constant; the two agree only without noise.",
    ),
    "sde_dpmpp_2m": _Recipe(
        "SDE-DPM-Solver++(2M)", dpmpp_2m_step, "dpmpp_2m", 2, 2, "lu2022dpmpp",
        f"the SDE solver of order 2; {_KD}sample_dpmpp_2m_sde (midpoint)",
        "DPM-Solver++(2M) on the kernel of the reverse equation, with the midpoint weight.",
        depth=1,
        aliases={
            "diffusers": 'DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", solver_type="midpoint")',
            "k-diffusion": 'sample_dpmpp_2m_sde(solver_type="midpoint", eta=tau**2)',
            "ComfyUI": "dpmpp_2m_sde",
        },
        distinguish="sde_dpmpp_2m_heun, whose first moment is exact.",
    ),
    "sde_dpmpp_2m_heun": _Recipe(
        "SDE-DPM-Solver++(2M), Heun type", exponential_adams_step, "adams", 2, 2, "lu2022dpmpp",
        f"the SDE solver of order 2; {_KD}sample_dpmpp_2m_sde (heun)",
        "Two-step stochastic exponential Adams method; no Heun stage is taken.",
        depth=1,
        aliases={
            "diffusers": 'DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", solver_type="heun")',
            "k-diffusion": 'sample_dpmpp_2m_sde(solver_type="heun", eta=tau**2)',
            "papers": "SA-Predictor with 2 steps",
        },
        distinguish="sde_trapezoid, the stochastic Heun method.",
    ),
    "sde_dpmpp_3m": _Recipe(
        "DPM-Solver++(3M) SDE as shipped", stochastic.dpmpp_3m_taylor_step, "dpmpp_3m", 2, 2, "katherine2022kdiffusion",
        "version 0.1.1, sampling.py, sample_dpmpp_3m_sde",
        "Three-step method whose second difference lacks a factor 2.",
        depth=2, highest=3, claimed_order=3, options={"ramp": "taylor"},
        aliases={"k-diffusion": "sample_dpmpp_3m_sde(eta=tau**2)", "ComfyUI": "dpmpp_3m_sde"},
        distinguish="sde_dpmpp_3m_corrected.",
    ),
    "sde_dpmpp_3m_corrected": _Recipe(
        "DPM-Solver++(3M) SDE corrected", dpmpp_3m_corrected_step, "dpmpp_3m_corrected", 3, 2,
        "katherine2022kdiffusion", "version 0.1.1, sampling.py, sample_dpmpp_3m_sde, with the factor 2 restored",
        "Three-step stochastic exponential Adams method.",
        depth=2, claimed_order=3,
        aliases={"papers": "SA-Predictor with 3 steps"},
        distinguish="sde_dpmpp_3m, the formula that libraries ship.",
    ),
    "sde_trapezoid": _Recipe(
        "Stochastic exponential trapezoidal rule", stochastic.exponential_trapezoid_step, "trapezoid", 2, 2,
        "hochbruck2010exponential", "section 2, exponential Runge-Kutta methods of order 2; on the reverse equation",
        "Exponential Euler predictor and trapezoidal corrector with the same noise; weak order 2 in one step.",
        distinguish="sde_dpmpp_2m_heun, which has no second stage.",
    ),
    "sde_dpm_1": _Recipe(
        "SDE-DPM-Solver-1", exponential_adams_step, "adams", 1, 1, "lu2022dpmpp",
        f"SDE-DPM-Solver-1; {_DIFFUSERS}",
        "Exponential Euler on the reverse equation, noise prediction held constant.",
        form=NOISE,
        aliases={
            "diffusers": 'DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver", solver_order=1)',
            "papers": "SEEDS-1",
        },
        distinguish="sde_dpmpp_1, which holds the data prediction constant.",
    ),
    "sde_dpm_2m": _Recipe(
        "SDE-DPM-Solver-2M", dpmpp_2m_step, "dpmpp_2m", 2, 2, "lu2022dpmpp",
        f"the SDE solver of order 2; {_DIFFUSERS}, midpoint",
        "Two-step method in noise prediction on the reverse equation.",
        form=NOISE, depth=1,
        aliases={"diffusers": 'DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver", solver_order=2)'},
        distinguish="sde_dpmpp_2m, in data prediction.",
    ),
    "seeds_2": _Recipe(
        "SEEDS-2", partial(exponential_runge_kutta_step), "dpm_solver", 2, 2, "gonzalez2023seeds",
        "nfsrules/SEEDS at b7300bf3, etd_serk.py, second_update (butcher_type 2a, noise_pred)",
        "Exponential midpoint rule with the noise of one path at both stages.",
        form=NOISE,
    ),
    "seeds_3": _Recipe(
        "SEEDS-3", partial(exponential_runge_kutta_step), "dpm_solver", 3, 2, "gonzalez2023seeds",
        "nfsrules/SEEDS at b7300bf3, etd_serk.py, third_update (butcher_type 3a, noise_pred), noise put right",
        "DPM-Solver-3 with the noise of one path at its three nodes.",
        form=NOISE,
        distinguish="the official code, whose noise at the second inner stage is in units of sigma at the end, and "
        "whose first two draws change places at the end: the variance is right, the joint law is that of no path.",
    ),
}  # fmt: skip


def _on_reverse_equation(name: str, recipe: _Recipe, tau: float, *, given: bool) -> Method:
    prediction = recipe.form.prediction
    return Method(
        name=name,
        title=recipe.title,
        family=f"sde_{recipe.derivation}",
        form=recipe.form,
        order=recipe.order,
        highest=recipe.highest,
        rule=partial(stochastic.reverse_sde_step, base=recipe.base, tau=tau, prediction=prediction, given=given),
        parameters=("tau",) if given else (),
        depth=recipe.depth,
        cite=recipe.cite,
        equation=recipe.equation,
        summary=recipe.summary,
        claimed_order=recipe.claimed_order or recipe.order,
        order_with_startup=min(recipe.order, 2),
        options=recipe.options,
        noise=noise_of("reverse", recipe.derivation, tau, recipe.order, recipe.weak_order, recipe.weak_order),
        aliases=recipe.aliases,
        distinguish=recipe.distinguish,
    )


def noise_of(
    scheme: Scheme, base: str, level: float | None, order: int, weak: int, law: int, *, scale: str = ""
) -> Noise:
    """Noise of strong order 1; without any, all orders are that of the weights."""
    if level == 0:
        return Noise(scheme, base, order, order, order, level, scale)
    return Noise(scheme, base, 1, weak, law, level, scale)


def _by_recipe(found: re.Match[str]) -> Method:
    return _on_reverse_equation(found[0], _RECIPES[found[1]], float(found[2] or 1), given=bool(found[3]))


def _sa_solver(found: re.Match[str]) -> Method | None:
    prediction = "noise" if found[1] else "data"
    predictor, corrector, exact = int(found[2]), int(found[3] or 0), bool(found[4])
    tau, given = float(found[5] or 1), bool(found[6])
    if not (1 <= predictor <= 6 and corrector <= 6 and corrector != 1) or (exact and prediction == "noise"):
        return None
    base: Callable[..., Step]
    if corrector:
        base = partial(stochastic.sa_solver_step, predictor=predictor, corrector=corrector, exact=exact)
    else:
        base = partial(stochastic.sa_predictor_step, exact=exact)
    top = max(predictor, corrector - 1)
    order = min(predictor + 1, corrector) if corrector else predictor
    return Method(
        name=found[0],
        title=f"SA-Solver, predictor {predictor}, corrector {corrector or 'none'}",
        family="sa_solver",
        form=DATA if prediction == "data" else NOISE,
        order=order,
        highest=top,
        rule=partial(stochastic.reverse_sde_step, base=base, tau=tau, prediction=prediction, given=given),
        parameters=("tau",) if given else (),
        depth=top - 1,
        cite="xue2023sasolver",
        equation="eqs. (15) and (18); scxue/SA-Solver at 876f3dd8, sa_solver.py, sample_few_steps",
        summary="Stochastic Adams methods on the reverse equation; predictor and corrector share their noise.",
        claimed_order=order,
        order_with_startup=min(order, 3 if corrector else 2),
        options={"predictor": predictor, "corrector": corrector, "exact": exact},
        noise=noise_of("reverse", "sa_solver", tau, order, min(order, 2), min(order, 2)),
        aliases={}
        if exact
        else {
            "diffusers": f"SASolverScheduler(predictor_order={predictor}, corrector_order={corrector}, "
            f'algorithm_type="{prediction}_prediction")'
        },
        distinguish="sa_solver_..., in data prediction, where the official code is used."
        if prediction == "noise"
        else "sa_solver_..._exact: the official code replaces the first moment in formulas on two nodes by h/2."
        if not exact
        else "the official code, which replaces the first moment in formulas on two nodes by h/2.",
    )


def _ddim_eta(found: re.Match[str]) -> Method:
    eta = float(found[1] or 1)
    return Method(
        name=found[0],
        title="DDPM (ancestral)" if found[0] == "ddpm" else f"DDIM, eta = {eta:g}",
        family="ddim_eta",
        form=DATA,
        order=1,
        rule=partial(stochastic.ddim_eta_step, eta=eta),
        depth=0,
        cite="song2021ddim",
        equation="eqs. (12) and (16)",
        summary="DDIM with part of the noise drawn anew; with eta = 1 the ancestral step of DDPM.",
        claimed_order=1,
        order_with_startup=1,
        noise=noise_of("ancestral", "adams", eta, 1, 1, 1),
        aliases={
            "diffusers": f"DDIMScheduler, eta={eta:g}" + ("; DDPMScheduler" if eta == 1 else ""),
            "k-diffusion": f"sample_euler_ancestral(eta={eta:g})",
            "ComfyUI": "euler_ancestral",
        },
        distinguish="sde_dpmpp_1 with tau = eta, which differs unless eta is 0 or 1.",
    )


FAMILY = (
    Members(
        rf"({'|'.join(_RECIPES)}){LEVEL}",
        _by_recipe,
        tuple(_RECIPES),
        {
            "seeds_1": "sde_dpm_1",
            "gddim": "sde_dpmpp_1",
            "dpmpp_2m_sde": "sde_dpmpp_2m",
            "dpmpp_2m_sde_heun": "sde_dpmpp_2m_heun",
            "dpmpp_3m_sde": "sde_dpmpp_3m",
        },
        "stochastic",
    ),
    Members(
        rf"sa_solver_(noise_)?(\d)(?:_(\d))?(_exact)?{LEVEL}",
        _sa_solver,
        (
            "sa_solver_3",
            "sa_solver_2_2",
            "sa_solver_3_4",
            "sa_solver_2_2_exact",
            "sa_solver_3_4_exact",
            "sa_solver_noise_2_2",
            "sa_solver_noise_3_4",
        ),
        {"sa_solver": "sa_solver_3_4"},
        "stochastic",
    ),
    Members(r"ddim_eta(\d+(?:\.\d+)?)", _ddim_eta, ("ddim_eta0.5",), kind="stochastic"),
    Members(r"(?!_)ddpm()", _ddim_eta, ("ddpm",), {"euler_ancestral": "ddpm"}, "stochastic"),
)
