"""Records of the momentum methods."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any

from diffnum.coefficients import momentum
from diffnum.coefficients.catalogue import (
    adams,
    constant_steps,
    exponential_runge_kutta,
    flow,
    predictor_corrector,
    runge_kutta,
)
from diffnum.coefficients.catalogue.members import MAX_ORDER, Members
from diffnum.coefficients.method import Method
from diffnum.forms import RHO
from diffnum.tableau import Step

__all__ = ["FAMILY"]


_CODE = "sWizad/momentum-diffusion at 7d324104, stable_diffusion, momentum_scheduler.py"


def _ghvb(name: str, number: float) -> Method:
    order, beta = _order_and_beta(number)
    return Method(
        name=name,
        title=f"GHVB {number:g} (order {order}, beta {beta:.3g})",
        family="ghvb",
        form=RHO,
        order=min(order, 2) if order > 1 else 1,
        highest=order,
        rule=partial(momentum.ghvb_step, beta=beta),
        depth=max(order - 1, 1),
        exact_depth=max(2 * order - 2, 1),
        cite="wizadwongsa2024momentum",
        equation=f"{_CODE}, GHVBScheduler",
        summary="Adams-Bashforth on a moving average of the noise prediction, with the weights of constant steps.",
        claimed_order=order,
        order_with_startup=min(order, 2),
        options={"order": order, "beta": beta},
        orders={"uniform": order, "smooth": min(order, 2), "irregular": 1},
        aliases={"papers": f"GHVB{number:g}"},
        distinguish="Polyak's heavy ball on the state: here the evaluations are averaged.",
        deviation="The weights are those of constant steps in sigma/alpha: order 2 at most on smoothly varying "
        "steps, 1 on others."
        if order > 1
        else "",
        corrected=f"{name}_variable" if order > 1 else "",
    )


def _ghvb_variable(name: str, number: float) -> Method:
    order, beta = _order_and_beta(number)
    return Method(
        name=name,
        title=f"GHVB {number:g} for steps of any length (order {order}, beta {beta:.3g})",
        family="ghvb_variable",
        form=RHO,
        order=order,
        rule=partial(momentum.ghvb_variable_step, beta=beta),
        depth=order - 1,
        cite="wizadwongsa2024momentum",
        equation=f"{_CODE}, GHVBScheduler, with means of Lagrange polynomials in place of differences",
        summary="GHVB in terms of its slope, with exact weights: its order on constant steps is kept on every grid.",
        claimed_order=order,
        order_with_startup=min(order, 2),
        options={"order": order, "beta": beta},
        distinguish=f"ghvb_{number:g}, as published, which is the same method on constant steps only.",
    )


_AVERAGES: Mapping[str, tuple[str, Callable[..., Step], str]] = {
    "hb": ("heavy_ball", momentum.heavy_ball_step, "HB"),
    "nt": ("nesterov", momentum.nesterov_step, "NT"),
}


def _averaged(name: str, kind: str, base: Method, beta: float) -> Method:
    """HB or NT on a multistep method; with beta = 1 that method itself."""
    if beta == 1:
        return replace(base, name=name)
    family, rule, title = _AVERAGES[kind]
    return replace(
        base,
        name=name,
        title=f"{title} {beta:.3g} on {base.title}",
        family=family,
        order=1,
        highest=base.top,
        rule=partial(rule, beta=beta, base=base.rule),
        cite="wizadwongsa2024momentum",
        equation=f"{_CODE}, PLMSWith{kind.upper()}Scheduler",
        summary="The slope of another method is replaced by its moving average, whose delay leaves order 1.",
        order_with_startup=1,
        options={"order": base.top, "beta": beta, "base": base.family, "settings": _settings(base)},
        orders={},
        aliases={"papers": f"{title}({beta:.3g}) on {base.title}"},
        distinguish="GHVB, which undoes the delay of the average.",
        deviation="The delay of the average is not undone: order 1, whatever the order of the base.",
        corrected="",
    )


def _mdpm2(name: str, beta: float, first: str) -> Method:
    base = adams.dpmpp_2m(name)
    if beta == 1:
        return base
    return replace(
        base,
        cite="wizadwongsa2024momentum",
        order_with_startup=1,
        title=f"DPM-Solver++(2M) with HB {beta:.3g}",
        family="mdpm2",
        order=1,
        highest=2,
        rule=partial(momentum.mdpm2_step, beta=beta, first=first),
        equation="sWizad/momentum-diffusion at 7d324104, dpm_guided_diffusion, dpm_solver_pytorch.py, mdpm2"
        if first == "evaluation"
        else f"{_CODE}, MomentumDPMSolverMultistepScheduler",
        summary="DPM-Solver++(2M) with a moving average that first-order steps neither use nor move.",
        options={"order": 2, "beta": beta, "first": first},
        aliases={"papers": f"DPM-Solver++(2M) with HB {beta:.3g}"},
        distinguish="hb_dpmpp_2m, whose first-order steps take part in the average.",
        deviation="The authors' two codes start the average differently (first evaluation, first slope), and with "
        "noise prediction the momentum is ignored; the delay of the average leaves order 1.",
        corrected="",
    )


_BASES = (adams, constant_steps, runge_kutta, exponential_runge_kutta, predictor_corrector, flow)
"""Modules of the methods whose slope can be averaged."""


def _record(name: str) -> Method | None:
    """Record of a method whose slope can be averaged: one that takes every interval alike."""
    for family in (family for module in _BASES for family in module.FAMILY):
        found = re.fullmatch(family.pattern, name)
        if found and (record := family.build(found)):
            unlike = record.singlestep or record.own_start or record.parameters or record.form.quadrature
            return None if unlike else record
    return None


def _settings(base: Method) -> Mapping[str, Any]:
    """Options that the base's derivation takes besides its order."""
    return {name: value for name, value in base.options.items() if name != "order"}


def _checked(name: str, beta: float) -> float:
    if not 0 < beta <= 1:
        msg = f"method={name!r} has beta = {beta:g}, outside (0, 1]: 1 is no momentum"
        raise ValueError(msg)
    return beta


def _order_and_beta(number: float) -> tuple[int, float]:
    """Order and beta of the single number m.f that the authors give."""
    order = ceil(number)
    return order, 1.0 if number == order else number - order + 1


def _by_number(found: re.Match[str]) -> Method | None:
    number = float(found[1])
    return _ghvb(found[0], number) if 0 < number <= MAX_ORDER else None


def _variable_by_number(found: re.Match[str]) -> Method | None:
    number = float(found[1])
    return _ghvb_variable(found[0], number) if 0 < number <= MAX_ORDER else None


def _averaged_by_name(found: re.Match[str]) -> Method | None:
    name, beta = found[2], _checked(found[0], float(found[3]))
    base = _record(f"plms_{name}" if name.isdigit() else name)
    return _averaged(found[0], found[1], base, beta) if base else None


def _mdpm2_by_beta(found: re.Match[str]) -> Method | None:
    return _mdpm2(found[0], _checked(found[0], float(found[1])), "slope" if found[2] else "evaluation")


_BETA = r"(-?\d+(?:\.\d+)?)"

FAMILY = (
    Members(r"ghvb_(\d+(?:\.\d+)?)", _by_number, ("ghvb_1.8", "ghvb_2.8")),
    Members(r"ghvb_(\d+(?:\.\d+)?)_variable", _variable_by_number, ("ghvb_2.8_variable",)),
    Members(r"(hb|nt)_(\d+|[a-z][\w./]*)_" + _BETA, _averaged_by_name, ("hb_4_0.8", "nt_4_0.8")),
    Members(r"mdpm2_" + _BETA + "(_slope)?", _mdpm2_by_beta, ("mdpm2_0.8",)),
)
