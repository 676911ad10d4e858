"""Records of the exponential Runge-Kutta methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from diffnum.coefficients import exponential_runge_kutta
from diffnum.coefficients.catalogue.members import Members
from diffnum.coefficients.method import Method
from diffnum.coefficients.runge_kutta import exponential_runge_kutta_step
from diffnum.forms import DATA, NOISE

__all__ = ["FAMILY"]


@dataclass(frozen=True)
class _Entry:
    """What the records of fixed methods differ in."""

    title: str
    order: int
    stiff_order: int
    cite: str
    equation: str
    summary: str


_FIXED: Mapping[str, _Entry] = {
    "etd_rk3": _Entry(
        "ETD-RK3 (Cox and Matthews)",
        3,
        2,
        "cox2002exponential",
        "eqs. (23)-(25)",
        "Kutta's method of order 3 with exponential weights.",
    ),
    "etd_rk4": _Entry(
        "ETD-RK4 (Cox and Matthews)",
        4,
        2,
        "cox2002exponential",
        "eqs. (26)-(29)",
        "The classical Runge-Kutta method with exponential weights.",
    ),
    "krogstad_4": _Entry(
        "Krogstad",
        4,
        3,
        "krogstad2005generalized",
        "eq. (51), ETDRK4-B",
        "ETD-RK4 with inner stages that integrate slopes exactly.",
    ),
    "hochbruck_ostermann_4": _Entry(
        "Hochbruck and Ostermann",
        4,
        4,
        "hochbruck2005explicit",
        "section 5, the method of five stages",
        "Five stages, order 4 whatever the size of the linear part.",
    ),
}


def _fixed(found: re.Match[str]) -> Method:
    stem, form = found["stem"], NOISE if found["noise"] else DATA
    entry = _FIXED[stem]
    rule = (
        exponential_runge_kutta_step if stem == "etd_rk4" else partial(exponential_runge_kutta.fixed_step, method=stem)
    )
    return Method(
        name=found[0],
        title=f"{entry.title}, {form.prediction} prediction",
        family="exponential_runge_kutta",
        form=form,
        order=entry.order,
        rule=rule,
        depth=0,
        cite=entry.cite,
        equation=entry.equation,
        summary=entry.summary,
        claimed_order=entry.order,
        order_with_startup=entry.order,
        options={"method": stem},
        distinguish="The classical tableau in sigma/alpha, rho_rk_rk4." if stem == "etd_rk4" else "",
        stiff_order=entry.stiff_order,
    )


def _res_3s(found: re.Match[str]) -> Method:
    """RES of order 3 with free nodes."""
    nodes = (Fraction(found["c2"] or "1/2"), Fraction(found["c3"] or 1))
    c2, c3 = nodes
    as_shipped = bool(found["shipped"])
    gamma = (
        None
        if c2 == Fraction(2, 3) or not 0 < c2 <= 1
        else exponential_runge_kutta.res_gamma(c2, c3, as_shipped=as_shipped)
    )
    if gamma is None or not 0 < c3 <= 1 or c2 == c3 or gamma * c2 + c3 == 0:
        msg = (
            f"method={found[0]!r} has the inner nodes {c2}, {c3}: res_3s takes distinct nodes in (0, 1], "
            "c2 other than 2/3, with gamma c2 + c3 other than 0"
        )
        raise ValueError(msg)
    order = 2 if as_shipped and c3 != 1 else 3
    shipped = " as shipped" if as_shipped else ""
    return Method(
        name=found[0],
        title=f"RES-3 singlestep{shipped} (c2 = {c2}, c3 = {c3})",
        family="res_3s",
        form=NOISE if found["noise"] else DATA,
        order=order,
        highest=3,
        rule=partial(exponential_runge_kutta.res_3s_step, nodes=nodes, as_shipped=as_shipped),
        depth=0,
        cite="zhang2023res",
        equation="Lemma 1, as transcribed by the codes in circulation"
        if as_shipped
        else "third-order singlestep, gamma as in the methods of three stages of Hochbruck and Ostermann (2005)",
        summary="Exponential Runge-Kutta method that meets the stiff conditions of order 3."
        if order == 3
        else "Exponential Runge-Kutta method whose gamma has a cube for a square: order 2.",
        claimed_order=3,
        order_with_startup=order,
        options={"nodes": nodes, "as_shipped": as_shipped},
        aliases={"ComfyUI": "res_3s"} if c3 == 1 else {},
        distinguish="res_3m of RES4LYF, these weights with past nodes (order 2); eab_3 is of order 3.",
        deviation="The codes in circulation have a cube for a square in gamma: order 2 unless the last node is 1."
        if as_shipped
        else "",
        corrected=found[0].removesuffix("_as_shipped") if as_shipped else "",
        stiff_order=order,
    )


_NUMBER = r"\d+(?:\.\d+|/\d+)?"

FAMILY = (
    Members(
        rf"(?P<stem>{'|'.join(_FIXED)})(?P<noise>_noise)?",
        _fixed,
        ("etd_rk3",),
    ),
    Members(
        rf"res_3s(?P<noise>_noise)?(?:_c(?P<c2>{_NUMBER})_(?P<c3>{_NUMBER}))?(?P<shipped>_as_shipped)?",
        _res_3s,
        ("res_3s",),
        {"res_2m": "eab_2", "res_multistep": "eab_2"},
    ),
)
