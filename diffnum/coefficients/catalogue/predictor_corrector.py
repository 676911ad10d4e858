"""Records of the predictor-corrector methods."""

from __future__ import annotations

import re
from functools import partial

from diffnum.coefficients import predictor_corrector
from diffnum.coefficients.catalogue.families import MAX_ORDER, Family
from diffnum.coefficients.method import Method
from diffnum.forms import DATA

__all__ = ["FAMILIES"]


def _unipc(name: str, order: int, variant: str) -> Method:
    return Method(
        name=name,
        title=f"UniPC-{order} ({variant})",
        family="unipc",
        form=DATA,
        order=order + 1,
        highest=order,
        rule=partial(predictor_corrector.unipc_step, variant=variant),
        depth=order - 1,
        cite="zhao2023unipc",
        equation="algorithms 1 and 2",
        summary=f"Exponential Adams predictor of order {order}; the corrector raises it by one at no cost.",
        claimed_order=order + 1,
        order_with_startup=min(order + 1, 3),
        options={"order": order, "variant": variant},
        aliases={
            "diffusers": f'UniPCMultistepScheduler(solver_order={order}, solver_type="{variant}")',
            "ComfyUI": "uni_pc_bh2" if variant == "bh2" else "uni_pc",
        },
        distinguish="UniP, the predictor alone.",
    )


def _by_order(found: re.Match[str]) -> Method | None:
    order = int(found[1])
    return _unipc(found[0], order, found[2]) if 1 <= order <= MAX_ORDER else None


FAMILIES = (
    Family(
        r"unipc_(\d+)_(bh1|bh2)",
        _by_order,
        ("unipc_2_bh2", "unipc_3_bh1", "unipc_3_bh2"),
        {"unipc": "unipc_2_bh2", "unipc_2": "unipc_2_bh2", "unipc_3": "unipc_3_bh2"},
    ),
)
