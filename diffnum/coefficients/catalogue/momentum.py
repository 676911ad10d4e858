"""Records of the momentum methods."""

from __future__ import annotations

import re
from functools import partial
from math import ceil

from diffnum.coefficients import momentum
from diffnum.coefficients.catalogue.families import Family
from diffnum.coefficients.method import Method
from diffnum.forms import RHO

__all__ = ["FAMILIES"]


def _ghvb(name: str, number: float) -> Method:
    order = ceil(number)
    beta = 1.0 if number == order else number - order + 1
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
        equation="eq. (11)",
        summary="Adams-Bashforth on a moving average of the noise prediction, with the weights of constant steps.",
        claimed_order=order,
        order_with_startup=min(order, 2),
        options={"order": order, "beta": beta},
        orders={"uniform": order, "smooth": min(order, 2), "irregular": 1},
        aliases={"papers": f"GHVB{number:g}"},
        distinguish="Polyak's heavy ball on the state: here the evaluations are averaged.",
    )


def _by_number(found: re.Match[str]) -> Method | None:
    number = float(found[1])
    return _ghvb(found[0], number) if 0 < number <= 5 else None


FAMILIES = (Family(r"ghvb_(\d+(?:\.\d+)?)", _by_number, ("ghvb_1.8", "ghvb_2.8")),)
