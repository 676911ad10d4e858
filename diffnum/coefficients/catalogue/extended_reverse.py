"""Records of ER-SDE, by order and noise scale function; orders as in :mod:`.stochastic`."""

from __future__ import annotations

import re
from functools import partial

from diffnum.coefficients import extended_reverse
from diffnum.coefficients.catalogue.members import Members
from diffnum.coefficients.catalogue.stochastic import noise_of
from diffnum.coefficients.method import Method
from diffnum.forms import DATA

__all__ = ["FAMILY"]


_COMFYUI = {"ComfyUI": "er_sde, on flow models too (its integrals are sums over 200 cells)"}


def _er_sde(found: re.Match[str]) -> Method | None:
    order, corrected, scale, riemann = int(found[1]), bool(found[2]), found[3] or "sde5", bool(found[4])
    if corrected and order < 3:
        return None
    true_order = 2 if order == 3 and not corrected else order
    level = {"ode": 0.0, "sde": 1.0, "sde2": 0.5**0.5, "sde3": 1.5**0.5}.get(scale)
    weak, family = min(true_order, 2), "er_sde_corrected" if corrected else "er_sde"
    return Method(
        name=found[0],
        title=f"ER-SDE-Solver-{order}{' corrected' if corrected else ''}, noise scale {scale}",
        family=family,
        form=DATA,
        order=true_order,
        highest=order,
        rule=partial(
            extended_reverse.er_sde_step,
            scale=extended_reverse.noise_scale(scale),
            corrected=corrected,
            riemann=riemann,
        ),
        depth=order - 1,
        cite="cui2025ersde",
        equation=f"QinpengCui/ER-SDE-Solver at 25ca6c2e, vp_{order}_order{'_taylor' if order > 1 else ''}",
        summary="Polynomials in sigma/alpha on the reverse equation whose noise level is a function of sigma/alpha.",
        claimed_order=order,
        order_with_startup=min(true_order, 2),
        noise=noise_of("extended", family, level, true_order, weak, weak, scale=scale),
        aliases=_COMFYUI if (order, corrected, riemann, scale) == (3, False, False, "sde5") else {},
        distinguish="er_sde_3_corrected, with the slope of the parabola." if order == 3 and not corrected else "",
    )


FAMILY = (
    Members(
        rf"er_sde_([123])(_corrected)?(?:_({'|'.join(extended_reverse.NOISE_SCALES)}|dance\d+(?:\.\d+)?))?(_riemann)?",
        _er_sde,
        ("er_sde_1", "er_sde_2", "er_sde_3", "er_sde_3_corrected"),
        {"er_sde": "er_sde_3"},
        "stochastic",
    ),
)
