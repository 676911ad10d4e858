"""Records of the Adams methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from diffnum.coefficients import adams
from diffnum.coefficients.catalogue.members import MAX_ORDER, Members, fixed
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import OwnStart
from diffnum.forms import DATA, NOISE, RHO, TIME, VELOCITY, SemilinearForm, riemann, time_form
from diffnum.schedules import VPFitted

__all__ = ["FAMILY", "dpmpp_2m"]

_LU = "LuChengTHU/dpm-solver at 52bc3fbc, dpm_solver_pytorch.py, "


def _ddim(name: str) -> Method:
    return Method(
        name=name,
        title="DDIM",
        family="adams",
        form=DATA,
        order=1,
        rule=adams.exponential_adams_step,
        depth=0,
        cite="song2021ddim",
        equation="eq. (13)",
        summary="Exponential Euler: the model's data prediction is held constant over the step.",
        claimed_order=1,
        order_with_startup=1,
        options={"order": 1},
        aliases={
            "diffusers": "DDIMScheduler(eta=0)",
            "k-diffusion": "sample_euler",
            "ComfyUI": "ddim, euler",
            "papers": "DPM-Solver-1, DPM-Solver++(1), tAB-DEIS 0",
        },
        distinguish="Euler's method in time: that one does not integrate the linear part exactly.",
    )


_ADAMS_FORMS: Mapping[str, tuple[SemilinearForm, str]] = {
    "eab": (DATA, "exponential Adams-Bashforth in half-log-SNR, data prediction"),
    "eab_noise": (NOISE, "exponential Adams-Bashforth in half-log-SNR, noise prediction"),
    "ab_velocity": (VELOCITY, "Adams-Bashforth in sigma/(alpha + sigma), velocity prediction"),
    "lms": (RHO, "Adams-Bashforth in sigma/alpha, noise prediction"),
    "deis_tab": (TIME, "Adams-Bashforth in time with exact quadrature, noise prediction"),
}

_DEIS = "qsh-zh/deis at a30709f4, th_deis/multistep.py, get_ab_eps_coef"

_ADAMS_SOURCES: Mapping[str, tuple[str, str]] = {
    "eab": ("hochbruck2010exponential", "section 2, exponential multistep methods"),
    "eab_noise": ("zhang2023deis", f"{_DEIS}, in half-log-SNR"),
    "ab_velocity": ("hairer1993solving", "section III.5, on the velocity"),
    "lms": ("katherine2022kdiffusion", "version 0.1.1, sampling.py, sample_lms"),
    "deis_tab": ("zhang2023deis", f"tAB-DEIS; {_DEIS}"),
}
"""Work and place in it."""

_ADAMS_ALIASES: Mapping[str, Mapping[str, str]] = {
    "eab": {"papers": "UniP of the same order, but 2; DPM-Solver++(2M, taylor) at order 2"},
    "eab_noise": {"papers": "DEIS lambda-AB"},
    "ab_velocity": {"papers": "Adams-Bashforth for rectified flow"},
    "lms": {"papers": "rhoAB-DEIS of degree order - 1"},
    "deis_tab": {
        "diffusers": "DEISMultistepScheduler (interpolates in log rho, not in t)",
        "papers": "tAB-DEIS",
    },
}


def _adams(name: str, stem: str, order: int) -> Method:
    form, title = _ADAMS_FORMS[stem]
    cite, place = _ADAMS_SOURCES[stem]
    return Method(
        name=name,
        title=f"{title}, order {order}",
        family="adams",
        form=form,
        order=order,
        rule=adams.exponential_adams_step,
        depth=order - 1,
        cite=cite,
        equation=place,
        summary=f"The {form.prediction} prediction is interpolated through {order} evaluations and integrated exactly.",
        claimed_order=order,
        order_with_startup=min(order, 2),
        options={"order": order},
        aliases={**_ADAMS_ALIASES[stem], **(_lms_elsewhere(order) if stem == "lms" else {})},
        distinguish="PLMS and iPNDM, whose weights are those of constant steps." if stem == "lms" else "",
    )


def _lms_elsewhere(order: int) -> Mapping[str, str]:
    """Names in libraries, where order 4 is the default; diffusers takes another in ``step``, which pipelines omit."""
    if order == 4:
        return {"diffusers": "LMSDiscreteScheduler", "k-diffusion": "sample_lms", "ComfyUI": "lms"}
    return {
        "diffusers": f"LMSDiscreteScheduler, step(..., order={order})",
        "k-diffusion": f"sample_lms(order={order})",
    }


def dpmpp_2m(name: str) -> Method:
    """Record of DPM-Solver++(2M), on which others are built."""
    return Method(
        name=name,
        title="DPM-Solver++(2M)",
        family="dpmpp_2m",
        form=DATA,
        order=2,
        rule=adams.dpmpp_2m_step,
        depth=1,
        cite="lu2022dpmpp",
        equation="algorithm 2",
        summary="Two-step method in data prediction; the slope gets half the weight of the value.",
        claimed_order=2,
        order_with_startup=2,
        aliases={
            "diffusers": 'DPMSolverMultistepScheduler(solver_order=2, solver_type="midpoint")',
            "k-diffusion": "sample_dpmpp_2m",
            "ComfyUI": "dpmpp_2m",
            "papers": "UniP-2 with B_2",
        },
        distinguish='eab_2, the variant with exact moments (diffusers solver_type="heun").',
    )


def _dpm_solver_2m(name: str) -> Method:
    return replace(
        dpmpp_2m(name),
        title="DPM-Solver-2 (multistep)",
        form=NOISE,
        cite="lu2022dpm",
        equation=_LU + "multistep_dpm_solver_second_update",
        summary="Two-step method in noise prediction; the slope gets half the weight of the value.",
        aliases={
            "diffusers": 'DPMSolverMultistepScheduler(algorithm_type="dpmsolver", solver_order=2)',
            "papers": "UniP-2 with B_2, noise prediction",
        },
        distinguish="dpm_solver_3, singlestep; eab_noise_2, the variant with exact moments.",
    )


def _dpm_solver_3m(name: str) -> Method:
    return replace(
        _dpmpp_3m(name),
        title="DPM-Solver-3 (multistep) as shipped",
        form=NOISE,
        cite="lu2022dpm",
        aliases={"diffusers": 'DPMSolverMultistepScheduler(algorithm_type="dpmsolver", solver_order=3)'},
        distinguish="dpm_solver_3m_corrected, which has order 3; dpm_solver_3, singlestep.",
        corrected="dpm_solver_3m_corrected",
    )


def _taylor(name: str, record: Method) -> Method:
    """DPM-Solver(++)(3M) as shipped, with exact moments in its step of second order."""
    return replace(
        record,
        name=name,
        title=f"{record.title}, start with exact moments",
        rule=partial(adams.dpmpp_3m_step, ramp="taylor"),
        options={"ramp": "taylor"},
        aliases={
            "k-diffusion": "sample_dpmpp_3m_sde(eta=0)",
            "ComfyUI": "dpmpp_3m_sde with eta 0",
            "papers": 'solver_type="taylor"',
        },
        distinguish=f"{record.name}, whose start has the midpoint weight; the formula of third order is the same.",
    )


def _dpm_solver_3m_corrected(name: str) -> Method:
    return replace(
        _dpmpp_3m_corrected(name),
        title="DPM-Solver-3 (multistep) corrected",
        form=NOISE,
        cite="lu2022dpm",
        summary="Multistep DPM-Solver-3 with the factor 2 restored; its weights are those of eab_noise_3.",
        distinguish="dpm_solver_3m, the formula that libraries ship.",
    )


def _dpmpp_3m(name: str) -> Method:
    return Method(
        name=name,
        title="DPM-Solver++(3M) as shipped",
        family="dpmpp_3m",
        form=DATA,
        order=2,
        highest=3,
        rule=adams.dpmpp_3m_step,
        depth=2,
        cite="lu2022dpmpp",
        equation=_LU + "multistep_dpm_solver_third_update",
        summary="Three-step method whose second difference lacks a factor 2: order 2, not 3.",
        claimed_order=3,
        order_with_startup=2,
        aliases={
            "diffusers": "DPMSolverMultistepScheduler(solver_order=3)",
        },
        distinguish="dpmpp_3m_corrected, which has order 3.",
        deviation="The code puts the divided difference for the second derivative, which is twice it: order 2, not 3.",
        corrected="dpmpp_3m_corrected",
    )


def _dpmpp_3m_corrected(name: str) -> Method:
    return Method(
        name=name,
        title="DPM-Solver++(3M) corrected",
        family="dpmpp_3m_corrected",
        form=DATA,
        order=3,
        rule=adams.dpmpp_3m_corrected_step,
        depth=2,
        cite="lu2022dpmpp",
        equation=_LU + "multistep_dpm_solver_third_update, with the second derivative 2(a - b)/(r_0 + r_1)",
        summary="DPM-Solver++(3M) with the factor 2 restored; its weights are those of eab_3 and UniP-3.",
        claimed_order=3,
        order_with_startup=2,
        aliases={"papers": "UniP-3"},
        distinguish="dpmpp_3m, the formula that libraries ship.",
    )


def _by_order(found: re.Match[str]) -> Method | None:
    order = int(found[2])
    return _adams(found[0], found[1], order) if 1 <= order <= MAX_ORDER else None


def _deis(found: re.Match[str]) -> Method | None:
    order = int(found[2]) + 1  # DEIS counts the degree of the interpolant
    stem = {"deis_tab": "deis_tab", "deis_rhoab": "lms"}[found[1]]
    return _adams(found[0], stem, order) if order <= MAX_ORDER else None


def _deis_official(found: re.Match[str]) -> Method | None:
    exact = _adams(found[0], {"deis_tab": "deis_tab", "deis_rhoab": "lms"}[found[1]], int(found[2]) + 1)
    return replace(
        exact,
        title=f"{found[1].removeprefix('deis_')}-DEIS {found[2]} with the official quadrature",
        cite="zhang2023deis",
        equation=_DEIS,
        form=riemann(exact.form),
        order=1,
        highest=exact.top,
        order_with_startup=1,
        summary="The weights are left Riemann sums of 10000 cells: first order, with a small constant.",
        aliases={},
        distinguish=f"{found[1]}{found[2]}, with exact weights.",
        deviation="The integrals of the paper are left Riemann sums of 10000 cells in the code: "
        "the order is 1 however fine the steps.",
        corrected=f"{found[1]}{found[2]}",
    )


def _deis_edm(found: re.Match[str]) -> Method | None:
    """Polynomials in a VP time on a process of any kind, as diff-sampler does on EDM's."""
    clock = time_form(VPFitted())
    exact = replace(
        _adams(found[0], "deis_tab", int(found[1]) + 1),
        title=f"tAB-DEIS {found[1]} in the time of a VP process",
        form=clock,
        cite="zhou2024fast",
        equation="zju-pi/diff-sampler at 68d5ce42, solver_utils.py, get_deis_coeff_list",
        summary="The noise prediction is interpolated in the time of the VP process through EDM's noise range.",
        aliases={"papers": "tAB-DEIS of diff-sampler"},
        distinguish=f"deis_tab{found[1]}, whose time is that of the process itself.",
    )
    if not found[2]:
        return exact
    return replace(
        exact,
        title=f"{exact.title}, with the official quadrature",
        form=riemann(clock, rule="closed"),
        order=1,
        highest=exact.top,
        order_with_startup=1,
        start="own",
        own_start=OwnStart(adams.exponential_adams_step, 1, form=RHO),
        summary="The weights are sums over 10000 points with both ends, but for an exact first step: first order.",
        distinguish=f"deis_tab{found[1]}_edm, with exact weights.",
        deviation="The integrals are sums over 10000 points with weights of 1/10000 of the interval, both ends "
        "included.",
        corrected=f"deis_tab{found[1]}_edm",
    )


FAMILY = (
    fixed("ddim", _ddim, euler="ddim"),
    Members(
        r"(eab|eab_noise|ab_velocity|lms)_(\d+)",
        _by_order,
        ("eab_2", "eab_3", "eab_4", "eab_noise_3", "ab_velocity_3", "lms_4"),
        {"lms": "lms_4", "unip_1": "eab_1", "unip_3": "eab_3", "unip_4": "eab_4"},
    ),
    Members(r"(deis_tab|deis_rhoab)(\d+)", _deis, ("deis_tab1", "deis_tab2", "deis_tab3")),
    Members(r"(deis_tab|deis_rhoab)(\d)_official", _deis_official, ()),
    Members(r"deis_tab(\d)_edm(_official)?", _deis_edm, ()),
    fixed("dpmpp_2m", dpmpp_2m, dpmpp="dpmpp_2m", dpmpp_2m_taylor="eab_2"),
    fixed("dpmpp_3m", _dpmpp_3m),
    fixed("dpmpp_3m_corrected", _dpmpp_3m_corrected),
    fixed("dpm_solver_2m", _dpm_solver_2m, dpm_solver_2m_taylor="eab_noise_2"),
    fixed("dpm_solver_3m", _dpm_solver_3m),
    Members("dpmpp_3m_taylor", lambda found: _taylor(found[0], _dpmpp_3m("dpmpp_3m")), ()),
    Members("dpm_solver_3m_taylor", lambda found: _taylor(found[0], _dpm_solver_3m("dpm_solver_3m")), ()),
    Members(re.escape("dpm_solver_3m_corrected"), lambda found: _dpm_solver_3m_corrected(found[0]), ()),
)
