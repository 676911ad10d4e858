"""Records of the classical multistep methods: PLMS, PNDM, iPNDM_v, Adams-Bashforth-Moulton."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from diffnum.coefficients import constant_steps
from diffnum.coefficients.adams import exponential_adams_step
from diffnum.coefficients.catalogue.members import MAX_ORDER, Members, fixed
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import OwnStart
from diffnum.forms import RHO

__all__ = ["FAMILY"]


def saturated(order: int) -> Mapping[str, int]:
    """Orders of a method with the weights of constant steps."""
    return {"uniform": order, "smooth": min(order, 2), "irregular": 1}


_CONSTANT = (
    "The weights are those of constant steps in sigma/alpha, and the grids of the papers are not: order 2 at most on "
    "smoothly varying steps, 1 on others."
)


_CODE = "luping-liu/PNDM at e771949c, runner/method.py"


def _plms(name: str, order: int, /, **changes: object) -> Method:
    record: dict[str, object] = {
        "name": name,
        "title": f"PLMS, order {order}",
        "family": "plms",
        "form": RHO,
        "order": min(order, 2),
        "highest": order,
        "rule": constant_steps.plms_step,
        "depth": order - 1,
        "cite": "liu2022pndm",
        "equation": f"{_CODE}, gen_order_4; the transfer is eq. (9)",
        "summary": f"Adams-Bashforth on {order} noise predictions with the weights of constant steps in sigma/alpha.",
        "claimed_order": order,
        "order_with_startup": min(order, 2),
        "options": {"order": order},
        "orders": saturated(order),
        "aliases": {
            "diffusers": "PNDMScheduler(skip_prk_steps=True), up to its start; IPNDMScheduler",
            "ComfyUI": "ipndm",
            "papers": "iPNDM (DEIS, diff-sampler), PLMS, GHVB of integral order",
        },
        "deviation": _CONSTANT if order > 1 else "",
        "corrected": f"lms_{order}" if order > 1 else "",
        "distinguish": "lms, whose weights are those of the actual steps, and which keeps its order on every grid.",
    }
    return Method(**(record | changes))  # type: ignore[arg-type]


def _pndm(name: str) -> Method:
    return _plms(
        name,
        4,
        title="F-PNDM",
        equation=f"{_CODE}, gen_order_4 and runge_kutta; the transfer is eq. (9)",
        summary="PLMS of order 4 after three pseudo Runge-Kutta steps of 4 evaluations each.",
        start="own",
        own_start=OwnStart(constant_steps.pseudo_runge_kutta_step, 3, (0.5,)),
        aliases={"diffusers": "PNDMScheduler(skip_prk_steps=False)", "papers": "F-PNDM"},
        distinguish="plms_4, the same formula after lower orders, at one evaluation a step.",
        corrected="pndm_corrected",
    )


def _s_pndm(name: str) -> Method:
    return _plms(
        name,
        2,
        title="S-PNDM",
        equation=f"{_CODE}, gen_order_2 and improved_eular; the transfer is eq. (9)",
        summary="PLMS of order 2 after one step of Heun's method.",
        start="own",
        own_start=OwnStart(constant_steps.pseudo_trapezoidal_step, 1),
        aliases={"papers": "S-PNDM"},
        distinguish="plms_2, which starts with a step of first order.",
        corrected="s_pndm_corrected",
    )


def _pndm_corrected(name: str, order: int, start: str) -> Method:
    """PNDM with the weights of the actual steps, after exact Runge-Kutta steps in sigma/alpha."""
    return _plms(
        name,
        order,
        title=f"{start} with weights of the actual steps",
        family="adams",
        rule=exponential_adams_step,
        order=order,
        orders={},
        highest=order,
        order_with_startup=order,
        start="high_order",
        equation=f"{start}, with the weights of section III.5 of Hairer, Norsett and Wanner",
        summary=f"Variable-step Adams-Bashforth of order {order} after Runge-Kutta steps of that order: it is "
        "kept throughout.",
        aliases={"papers": f"{start}, variable steps"},
        deviation="",
        corrected="",
        distinguish=f"lms_{order}, the same formula after lower orders.",
    )


def _fon(name: str) -> Method:
    return _plms(
        name,
        4,
        title="FON",
        family="fon",
        rule=constant_steps.fon_step,
        equation=f"{_CODE}, gen_fon",
        summary="PLMS of order 4 on the change of the raw state over one label: no integration of the linear part.",
        order=1,
        order_with_startup=1,
        orders={},
        start="own",
        own_start=OwnStart(constant_steps.fon_start_step, 3, (0.5,)),
        parameters=("alpha_ahead", "labels"),
        aliases={"papers": "FON"},
        distinguish="pndm, which works on the state in units of its signal and does not depend on the labels.",
        deviation="Every stage starts over from the base state and from its label, and the slope is a difference "
        "over one label: order 1.",
        corrected="pndm_corrected",
    )


_SLIPS: Mapping[int, str] = {
    3: "A bracket of the second difference's weight is misplaced: order 2 on irregular steps.",
    4: "Besides the bracket of order 3, the third difference has 11/24 for 9/24 on constant steps and the wrong "
    "ratio of steps in its last weight: no order on irregular steps.",
}

_IPNDM_V_ORDERS: Mapping[int, Mapping[str, int]] = {
    1: {},
    2: {},
    3: {"irregular": 2},
    4: {"uniform": 3, "smooth": 2, "irregular": 0},
}


def _ipndm_v(name: str, order: int) -> Method:
    orders = _IPNDM_V_ORDERS[order]
    return Method(
        name=name,
        title=f"iPNDM_v as shipped, order {order}",
        family="ipndm_v",
        form=RHO,
        order=orders.get("smooth", order),
        highest=order,
        rule=constant_steps.ipndm_v_step,
        depth=order - 1,
        cite="zhou2024fast",
        equation="zju-pi/diff-sampler at 68d5ce42, solvers.py, ipndm_v_sampler",
        summary="Variable-step Adams-Bashforth in Newton's form with slips in its weights from order 3 on.",
        claimed_order=order,
        order_with_startup=min(order, 2),
        options={"order": order},
        orders=orders,
        aliases={"ComfyUI": "ipndm_v"},
        distinguish=f"lms_{order}, the variable-step method that it is meant to be.",
        deviation=_SLIPS.get(order, ""),
        corrected=f"lms_{order}" if order in _SLIPS else "",
    )


def _abm(name: str, order: int, *, variable: bool, mode: str) -> Method:
    weights = "of the actual steps" if variable else "of constant steps"
    return Method(
        name=name,
        title=f"Adams-Bashforth-Moulton {order}, {mode.upper()}, weights {weights}",
        family="abm",
        form=RHO,
        order=order if variable else min(order, 2),
        highest=order,
        rule=partial(constant_steps.abm_step, mode=mode, variable=variable),
        depth=order - 1,
        cite="hairer1993solving",
        equation="section III.1, eqs. (1.5) and (1.8)",
        summary="Adams-Bashforth predictor and Adams-Moulton corrector of the same order in sigma/alpha.",
        claimed_order=order,
        order_with_startup=min(order, 2),
        options={"order": order, "mode": mode, "variable": variable},
        # Euler and the trapezoidal rule have no past nodes to get wrong
        orders={} if variable or order <= 2 else saturated(order),
        aliases={"papers": f"{mode.upper()} mode of the Adams pair"},
        distinguish="UniPC, whose corrector has one order more than its predictor.",
        deviation="" if variable or order <= 2 else _CONSTANT,
        corrected="" if variable or order <= 2 else f"abm_{order}_variable{'_pec' if mode == 'pec' else ''}",
    )


def _plms_by_order(found: re.Match[str]) -> Method | None:
    order = int(found[2])
    return _plms(found[0], order) if 1 <= order <= MAX_ORDER else None


def _ipndm_v_by_order(found: re.Match[str]) -> Method | None:
    order = int(found[1])
    return _ipndm_v(found[0], order) if order in _IPNDM_V_ORDERS else None


def _abm_by_order(found: re.Match[str]) -> Method | None:
    order = int(found[1])
    if not 1 <= order <= MAX_ORDER:
        return None
    return _abm(found[0], order, variable=bool(found[2]), mode="pec" if found[3] else "pece")


FAMILY = (
    Members(
        r"(plms|ipndm)_(\d+)",
        _plms_by_order,
        ("plms_4",),
        {"plms": "plms_4", "ipndm": "plms_4"} | {f"plms_{q}_corrected": f"lms_{q}" for q in range(2, 6)},
    ),
    fixed("pndm", _pndm, f_pndm="pndm"),
    Members("pndm_corrected", lambda found: _pndm_corrected(found[0], 4, "F-PNDM"), ()),
    Members("s_pndm", lambda found: _s_pndm(found[0]), ()),
    Members("s_pndm_corrected", lambda found: _pndm_corrected(found[0], 2, "S-PNDM"), ()),
    Members("fon", lambda found: _fon(found[0]), ()),
    Members(
        r"ipndm_v_(\d+)",
        _ipndm_v_by_order,
        ("ipndm_v_3",),
        {"ipndm_v": "ipndm_v_4", "ipndm_v_3_corrected": "lms_3", "ipndm_v_4_corrected": "lms_4"},
    ),
    Members(r"abm_(\d+)(_variable)?(_pec)?", _abm_by_order, ("abm_4", "abm_3_variable")),
)
