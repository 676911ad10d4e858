"""Records of the methods whose plans need numbers that are searched for."""

from __future__ import annotations

import re
from functools import partial

from diffnum.coefficients import compensation
from diffnum.coefficients.catalogue.members import MAX_ORDER, Members
from diffnum.coefficients.method import Method
from diffnum.forms import DATA, NOISE

__all__ = ["FAMILY"]

_MAX_DEGREE = 4


def _dc_solver(found: re.Match[str]) -> Method | None:
    order, variant, degree, noise = int(found[1]), found[2], int(found[3] or 2), bool(found[4])
    if not (1 <= order <= MAX_ORDER and 1 <= degree <= _MAX_DEGREE):
        return None
    return Method(
        name=found[0],
        title=f"DC-Solver-{order} ({variant}, degree {degree}{', noise prediction' if noise else ''})",
        family="dc_solver",
        form=NOISE if noise else DATA,
        order=order + 1,
        highest=order,
        rule=partial(compensation.dc_solver_step, variant=variant, degree=degree),
        depth=max(order - 1, degree),
        cite="zhao2024dcsolver",
        equation="wl-zhao/DC-Solver at f82d0601, dc_solver.py",
        summary="UniPC with the newest evaluation moved by a searched ratio; the order is that of ratios equal to 1.",
        claimed_order=order + 1,
        order_with_startup=min(order + 1, 3),
        options={"order": order, "variant": variant, "degree": degree},
        aliases={"diffusers": "DCSolverMultistepScheduler (authors' fork)"},
        distinguish=f"unipc_{order}_{variant}, the same with all ratios 1.",
        parameters=("ratio",),
    )


FAMILY = (
    # not listed: the studies and proofs that run over all listed names have no ratios to give
    Members(r"dc_solver_(\d+)_(bh1|bh2)(?:_d(\d+))?(_noise)?", _dc_solver, (), {"dc_solver": "dc_solver_3_bh2"}),
)
