"""Records of methods for few steps that need no training."""

from __future__ import annotations

import re
from functools import partial

from diffnum.coefficients import few_steps
from diffnum.coefficients.catalogue.members import Members
from diffnum.coefficients.method import Method
from diffnum.forms import NOISE, RHO, VELOCITY

__all__ = ["FAMILY"]


def _cab(found: re.Match[str]) -> Method:
    base, theta = int(found[1]), float(found[2])
    return Method(
        name=found[0],
        title=f"CAB-{base}, theta {theta:g}",
        family="cab",
        form=RHO,
        order=2,
        highest=3,
        rule=partial(few_steps.cab_step, theta=theta, base=base),
        depth=2,
        cite="roy2026cab",
        equation="Anuska-Roy/CAB at 941180a3, generate_cab.py, cab_sampler",
        summary=f"Adams-Bashforth of order {base} plus {theta:g} times the defect of the newest noise prediction.",
        claimed_order=2,
        order_with_startup=2,
        options={"order": 3, "theta": theta, "base": base},
        distinguish="lms_3, which is CAB-2 with the right theta on every grid (5/12 on constant steps).",
    )


def _stork(found: re.Match[str]) -> Method:
    right = bool(found[1])
    return Method(
        name=found[0],
        title=f"STORK-2 (50 virtual stages){', at their own times' if right else ''}",
        family="stork",
        form=VELOCITY,
        order=2 if right else 1,
        highest=3,
        rule=partial(few_steps.stork_step, stages=50, times="gegenbauer" if right else "legendre"),
        depth=2,
        cite="tan2025stork",
        equation="ZT220501/STORK at fd991caf, STORKScheduler.py, step_flow_matching_2",
        summary="A parabola through three velocities, integrated by the virtual stages of a stabilised method.",
        claimed_order=2,
        order_with_startup=2 if right else 1,
        options={"order": 3, "stages": 50, "times": "gegenbauer" if right else "legendre"},
        orders={"uniform": 2, "smooth": 2, "irregular": 1} if right else {},
        distinguish="Runge-Kutta-Gegenbauer methods, whose stages see the state, and are stable for it.",
        deviation="The virtual stages are values of a polynomial in time and see no state, so nothing is stabilised. "
        + (
            "The slope is that of constant steps: order 1 on irregular grids."
            if right
            else "Their weights are Gegenbauer's and their times Legendre's: the first moment is 0.4896, order 1; at "
            "their own times (stork_2_corrected) it is 1/2."
        ),
        corrected="ab_velocity_3",
    )


def _pfdiff(found: re.Match[str]) -> Method:
    return Method(
        name=found[0],
        title="PFDiff-1 (springboard halfway in time)",
        family="pfdiff",
        form=RHO,
        order=2,
        rule=few_steps.pfdiff_step,
        depth=1,
        inner_times=(0.5,),
        cite="wang2025pfdiff",
        equation="onefly123/PFDiff at e63fd30f, ddim-main/functions/denoising_PFDiff_1.py, generalized_steps",
        summary="Two steps of DDIM for one evaluation: to the middle with the last slope, and anew with the one there.",
        claimed_order=2,
        order_with_startup=2,
        distinguish="the explicit midpoint rule, which pays for the first slope; here it is that of the step before.",
        deviation="The first step of the code spans one interval, the others two; here all are alike.",
    )


def _rx_euler(found: re.Match[str]) -> Method:
    return Method(
        name=found[0],
        title="RX-Euler (two halves in time)",
        family="rx_euler",
        form=RHO,
        order=2,
        rule=few_steps.rx_euler_step,
        depth=0,
        inner_times=(0.5,),
        cite="choi2025rx",
        equation="jin01020/rx-dpm at 580ecf72, edm/generate.py, rx_euler_sampler and get_coeff",
        summary="Euler in two parts and in one, extrapolated: the Runge-Kutta method of two stages.",
        claimed_order=2,
        order_with_startup=2,
    )


_MAX_POINTS = 8


def _epd(found: re.Match[str]) -> Method | None:
    points = int(found[1])
    if not 1 <= points <= _MAX_POINTS:
        return None
    return Method(
        name=found[0],
        title=f"EPD with {points} point{'s' * (points > 1)} a step, before training",
        family="epd",
        form=NOISE,
        order=2,
        rule=partial(few_steps.epd_step, points=points),
        depth=0,
        cite="wang2025epd",
        equation="BeierZhu/EPD at 88a91f09, solvers.py, epd_sampler",
        summary=f"The mean of {points} evaluation{'s' * (points > 1)} at equal distances on the line of the first "
        f"slope; {points + 1} evaluations a step, though the {points} do not wait for each other.",
        claimed_order=2,
        order_with_startup=2,
        options={"points": points},
        distinguish="dpm_solver_2, which is EPD with one point."
        if points > 1
        else "dpm_solver_2, which is the same method.",
        deviation="Where the points stand and what they weigh is learned, for each step and network, and keeps order "
        "2 only if their weighted mean is the middle of the step; here they are equal.",
    )


FAMILY = (
    Members(r"cab_([23])_(\d+(?:\.\d+)?)", _cab, ("cab_2_0.9", "cab_3_0.9")),
    Members(r"stork_2(_corrected)?", _stork, ("stork_2", "stork_2_corrected")),
    Members(r"pfdiff_1", _pfdiff, ("pfdiff_1",)),
    Members(r"rx_euler", _rx_euler, ("rx_euler",)),
    Members(r"epd_(\d+)", _epd, ("epd_2",)),
)
"""Members, as the catalogue gathers them."""
