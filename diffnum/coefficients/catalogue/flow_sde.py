"""Records of the stochastic steps that reinforcement learning takes on flow models; orders as in :mod:`.stochastic`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf, sqrt

from diffnum.coefficients.adams import dpmpp_2m_step, exponential_adams_step
from diffnum.coefficients.catalogue.members import Members
from diffnum.coefficients.catalogue.stochastic import noise_of
from diffnum.coefficients.flow_sde import DIVISIONS, flow_sde_step
from diffnum.coefficients.method import Method
from diffnum.coefficients.noise import Noise
from diffnum.coefficients.programme import Rule
from diffnum.coefficients.stochastic import reverse_sde_step
from diffnum.forms import DATA

__all__ = ["FAMILY"]

_NUMBER = r"\d+(?:\.\d+)?"


@dataclass(frozen=True)
class _Family:
    """What distinguishes one family from another."""

    title: str
    letter: str
    cite: str
    equation: str
    summary: str
    noise: Callable[[float], Noise]
    aliases: Mapping[str, str]
    distinguish: str
    deviation: str = ""


def _constant(scheme: str, squared: Callable[[float], float], level: float) -> Noise:
    return noise_of(scheme, "adams", sqrt(squared(level)), 1, 1, 1)  # type: ignore[arg-type]


def _half_square(level: float) -> float:
    return level * level / 2


def _itself(level: float) -> float:
    return level


def _dance(level: float) -> Noise:
    if level == 0:
        return Noise("dance_sde", "adams", 1, 1, 1, 0.0)
    return Noise("dance_sde", "adams", 1, 1, 1, None, f"dance{level:g}")


def _preserving(level: float) -> Noise:
    if level == 0:
        return Noise("cps", "adams", 1, 1, 1, 0.0)
    return Noise("cps", "adams", 0, 0, 0, inf)


_LAST = (
    "The official step to s = 0 adds its noise too, and hands it out with the sample; here that step is the data "
    "prediction, as in DanceGRPO's code."
)

_FAMILIES: Mapping[str, _Family] = {
    "flow_sde": _Family(
        "Flow-SDE", "a", "liu2025flowgrpo",
        "yifan123/flow_grpo at ac4c86e8, sd3_sde_with_logprob.py, sde_step_with_logprob",
        "Euler-Maruyama in flow time on the reverse equation of constant noise level a/sqrt(2).",
        partial(_constant, "flow_sde", _half_square),
        {"papers": "Flow-GRPO's SDE sampler"},
        "precise_sde, the exponential Euler step of the same equation, which adds no variance of its own.",
        _LAST,
    ),
    "dance_sde": _Family(
        "Dance-SDE", "eta", "xue2025dancegrpo",
        "XueZeyue/DanceGRPO at 15cc71d5, fastvideo/train_grpo_flux.py, flux_step",
        "Euler-Maruyama in flow time with the same diffusion eta at every time.",
        _dance,
        {"papers": "DanceGRPO's SDE sampler"},
        "flow_sde, whose diffusion grows towards the noise; er_sde_1_dance..., the exact step of the same equation.",
    ),
    "cps": _Family(
        "Coefficients-preserving sampling", "eta", "wang2025cps",
        "IamCreateAI/FlowCPS at 814c3597, sd3_sde_with_logprob.py, sde_step_with_logprob",
        "DDIM whose new noise is the share sin(eta pi/2) of that at the end of the step, however short it is.",
        _preserving,
        {"papers": "CPS, Flow-CPS", "diffusers": "FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), eta = 1"},
        "ddim_eta, whose share of new noise falls with the step.",
        "Keeps the law of known data but not that of a distribution: the share of new noise does not vanish with the "
        "step, and with many steps the standard deviation tends to cos(eta pi/4) of that of the data.",
    ),
    "euler_ancestral_rf": _Family(
        "Euler ancestral for flows", "eta", "comfy2023comfyui",
        "comfyanonymous/ComfyUI at 4328fa89, comfy/k_diffusion/sampling.py, sample_euler_ancestral_RF",
        "Euler in flow time to below the end of the step, then noise up to it, signal and noise as the process has.",
        partial(_constant, "euler_ancestral_rf", _itself),
        {"ComfyUI": "euler_ancestral on flow models"},
        "ddpm, the ancestral step of the half-log-SNR; both approach the time reversal at eta = 1.",
    ),
}  # fmt: skip

CORRECTED: Mapping[str, str] = {"flow_sde": "precise_sde", "cps": "precise_sde"}
"""Families whose deviation another one does not have."""


def _step(found: re.Match[str]) -> Method:
    name, text = found[1], found[2]
    family, division = _FAMILIES[name], DIVISIONS[name]
    given = text == "given"
    level = 1.0 if given else float(division.checked(float(text)))
    noise = family.noise(level)
    rule: Rule = partial(flow_sde_step, division=division, level=float(division.parameter(level)), given=given)
    return Method(
        name=found[0],
        title=f"{family.title}, {family.letter} " + ("given" if given else f"= {level:g}"),
        family=name,
        form=DATA,
        order=1,
        rule=rule,
        parameters=("level",) if given else (),
        depth=0,
        cite=family.cite,
        equation=family.equation,
        summary=family.summary,
        claimed_order=1,
        order_with_startup=1,
        noise=noise,
        aliases=family.aliases,
        distinguish=family.distinguish,
        deviation=family.deviation,
        corrected="" if given or not level or name not in CORRECTED else f"{CORRECTED[name]}_{level:g}",
    )


@dataclass(frozen=True)
class _Precise:
    """A method on the reverse equation of constant level, under the name and level of Precise."""

    title: str
    base: Rule
    derivation: str
    order: int
    summary: str
    twin: str


_PRECISE: Mapping[str, _Precise] = {
    "precise_sde": _Precise(
        "Precise-SDE", exponential_adams_step, "adams", 1,
        "Exponential Euler on the reverse equation of constant noise level eta/sqrt(2): SDE-DPM-Solver++(1).",
        "sde_dpmpp_1_tau..., the same method under its own noise level tau = eta/sqrt(2).",
    ),
    "precise_sde_2m": _Precise(
        "Precise-SDE, two-step", dpmpp_2m_step, "dpmpp_2m", 2,
        "SDE-DPM-Solver++(2M) on the equation of Flow-SDE and Precise-SDE: second order for the price of the first.",
        "sde_dpmpp_2m_tau..., the same method under its own noise level tau = eta/sqrt(2).",
    ),
}  # fmt: skip


def _precise(found: re.Match[str]) -> Method:
    recipe, level = _PRECISE[found[1]], float(found[2])
    tau = level / sqrt(2)
    return Method(
        name=found[0],
        title=f"{recipe.title}, eta = {level:g}",
        family=f"sde_{recipe.derivation}",
        form=DATA,
        order=recipe.order,
        rule=partial(reverse_sde_step, base=recipe.base, tau=tau, prediction="data"),
        depth=recipe.order - 1,
        cite="zou2026precise",
        equation="Tencent-Hunyuan/Precise at 9a84f91b, precise_sde/diffusers_patch/sde_with_logprob.py",
        summary=recipe.summary,
        claimed_order=recipe.order,
        order_with_startup=recipe.order,
        noise=noise_of("reverse", recipe.derivation, tau, recipe.order, recipe.order, recipe.order),
        aliases={"papers": "Precise" if recipe.order == 1 else ""},
        distinguish=recipe.twin,
    )


FAMILY = (
    Members(
        rf"({'|'.join(_PRECISE)})_({_NUMBER})", _precise, ("precise_sde_0.7", "precise_sde_2m_0.7"), kind="stochastic"
    ),
    Members(
        rf"({'|'.join(_FAMILIES)})_({_NUMBER}|given)",
        _step,
        ("flow_sde_0.7", "dance_sde_0.3", "cps_0.5", "euler_ancestral_rf_1"),
        {"flow_sde": "flow_sde_0.7", "dance_sde": "dance_sde_0.3", "euler_ancestral_rf": "euler_ancestral_rf_1"},
        "stochastic",
    ),
)
