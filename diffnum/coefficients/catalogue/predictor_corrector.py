"""Records of the predictor-corrector methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from diffnum.coefficients import predictor_corrector
from diffnum.coefficients.catalogue.members import MAX_ORDER, Members
from diffnum.coefficients.method import Method
from diffnum.forms import DATA, NOISE, SemilinearForm

__all__ = ["FAMILY"]

_RUNS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "": ({}, ""),
    "_pece": ({"mode": "pece", "correct_last": True}, "PECE"),
    "_last": ({"correct_last": True}, "last step corrected"),
}
"""How a pair is run: options of the rule, and words for the title."""


def _form(noise: str | None) -> SemilinearForm:
    return NOISE if noise else DATA


def _titled(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _unipc(name: str, order: int, variant: str, form: SemilinearForm, run: str) -> Method:
    options, mode = _RUNS[run]
    shipped = not run
    return Method(
        name=name,
        title=f"UniPC-{order} ({_titled(variant, 'noise prediction' if form is NOISE else '', mode)})",
        family="unipc_pece" if run == "_pece" else "unipc",
        form=form,
        order=order + 1,
        highest=order,
        rule=partial(predictor_corrector.unipc_step, variant=variant, **options),
        depth=order - 1,
        cite="zhao2023unipc",
        equation="theorem 3.1; wl-zhao/UniPC at cf9de85b, uni_pc.py, multistep_uni_pc_bh_update",
        summary=f"Exponential Adams predictor of order {order}; the corrector raises it by one at no cost."
        if run != "_pece"
        else f"Exponential Adams pair of orders {order} and {order + 1}, two evaluations a step.",
        claimed_order=order + 1,
        order_with_startup=min(order + 1, 3),
        options={"order": order, "variant": variant, **options},
        aliases={
            "diffusers": f'UniPCMultistepScheduler(solver_order={order}, solver_type="{variant}"'
            + (", predict_x0=False)" if form is NOISE else ")"),
            # sample_unipc there has order 3 in the data prediction, and no argument for another
            **({"ComfyUI": "uni_pc_bh2" if variant == "bh2" else "uni_pc"} if order == 3 and form is DATA else {}),
        }
        if shipped
        else {},
        distinguish="UniP, the predictor alone."
        if shipped
        else f"unipc_{order}_{variant}, the mode that libraries ship.",
        deviation=_SHORTCUT if order <= 2 else "",
        corrected=f"unipc_{order}_vary_fixed{'_noise' if form is NOISE else ''}" if order <= 2 and shipped else "",
    )


_SHORTCUT = (
    "Where one ratio is left the code puts 1/2 for the solution of the paper's system, which it is in the limit of "
    "small steps; no order is lost."
)


def _unipc_vary(name: str, order: int, form: SemilinearForm, *, fixed: bool) -> Method:
    slips = order > 1 and not fixed
    return Method(
        name=name,
        title=f"UniPC-{order} (vary_coeff{'' if fixed else ' as shipped'})",
        family="unipc_vary",
        form=form,
        order=1 if slips else order + 1,
        highest=order,
        rule=partial(predictor_corrector.unipc_vary_step, fixed=fixed),
        depth=order - 1,
        cite="zhao2023unipc",
        equation="appendix C, eq. (12); wl-zhao/UniPC at cf9de85b, uni_pc.py, multistep_uni_pc_vary_update",
        summary="The pair of exact exponential Adams methods."
        if not slips
        else "A stale loop index in the corrector: order 1, below that of the predictor alone.",
        claimed_order=order + 1,
        order_with_startup=1 if slips else min(order + 1, 3),
        options={"order": order, "fixed": fixed},
        aliases={"ComfyUI": "uni_pc, variant vary_coeff"} if slips else {"papers": "UniPC_v"},
        distinguish=f"unipc_{order}_vary{'_fixed' if slips else ''}"
        + (", with the index mended." if slips else ", as its authors ship it."),
        deviation="The code adds the new difference once, with a stale loop index, where the formula has it in every "
        "term: order 1, below the predictor's."
        if slips
        else "",
        corrected=f"unipc_{order}_vary_fixed{'_noise' if form is NOISE else ''}" if slips else "",
    )


def _unip(name: str, order: int, variant: str, form: SemilinearForm) -> Method:
    return Method(
        name=name,
        title=f"UniP-{order} ({_titled(variant, 'noise prediction' if form is NOISE else '')})",
        family="unip",
        form=form,
        order=order,
        rule=partial(predictor_corrector.unip_step, variant=variant),
        depth=order - 1,
        cite="zhao2023unipc",
        equation="wl-zhao/UniPC at cf9de85b, uni_pc.py, multistep_uni_pc_bh_update, use_corrector=False",
        summary="The predictor of UniPC alone: exponential Adams-Bashforth, but for the weight 1/2 at order 2.",
        claimed_order=order,
        order_with_startup=min(order, 2),
        options={"order": order, "variant": variant},
        aliases={"papers": "DPM-Solver(++)2M" if (order, variant) == (2, "bh2") else f"UniP-{order}"},
        distinguish="UniPC, which corrects the state with the next evaluation.",
        deviation=_SHORTCUT if order == 2 else "",
        corrected=f"eab{'_noise' if form is NOISE else ''}_2" if order == 2 else "",
    )


def _pair_by_order(found: re.Match[str]) -> Method | None:
    order, form = int(found[1]), _form(found[3])
    return _unipc(found[0], order, found[2], form, found[4] or "") if 1 <= order <= MAX_ORDER else None


def _vary_by_order(found: re.Match[str]) -> Method | None:
    order, form = int(found[1]), _form(found[3])
    return _unipc_vary(found[0], order, form, fixed=bool(found[2])) if 1 <= order <= MAX_ORDER else None


def _predictor_by_order(found: re.Match[str]) -> Method | None:
    order = int(found[1])
    return _unip(found[0], order, found[2], _form(found[3])) if 1 <= order <= MAX_ORDER else None


FAMILY = (
    Members(
        r"unipc_(\d+)_(bh1|bh2)(_noise)?(_pece|_last)?",
        _pair_by_order,
        ("unipc_2_bh2", "unipc_3_bh1", "unipc_3_bh2", "unipc_3_bh2_noise", "unipc_2_bh2_pece"),
        {"unipc": "unipc_2_bh2", "unipc_2": "unipc_2_bh2", "unipc_3": "unipc_3_bh2"},
    ),
    Members(r"unipc_(\d+)_vary(_fixed)?(_noise)?", _vary_by_order, ("unipc_3_vary", "unipc_2_vary_fixed")),
    Members(r"unip_(\d+)_(bh1|bh2)(_noise)?", _predictor_by_order, ("unip_2_bh1",), {"unip_2": "unip_2_bh2"}),
)
