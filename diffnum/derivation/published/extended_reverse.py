"""ER-SDE's steps as their authors ship them, in formal moments of the kernel, with the variance of their noise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.algebra.reverse import ReverseSymbols
from diffnum.derivation.printing.notation import NOISE, Published, Rows

__all__ = ["PUBLISHED"]


def _er_sde(s: ReverseSymbols, order: int, *, corrected: bool) -> Rows:
    """Rows in formal moments M_k of the kernel in s = (rho - rho_0)/(rho_1 - rho_0).

    1 - r, then (rho_1 - rho_0 + phi int 1/phi) d with the chord d, then (.../2 + phi int (rho - rho_0)/phi) dd.
    """
    moments = [s[f"M_{k}"] for k in range(order)]
    weights: dict[str, Any] = {"x": s.power(0, 1), "k1": moments[0]}
    if order > 1:
        u = s.past[0]
        weights |= {"k1": weights["k1"] - moments[1] / u, "m1": moments[1] / u}
    if order > 2:
        w = s.past[1]
        chord, older = (-1 / u, 1 / u, 0 * u), (0 * u, 1 / (u - w), -1 / (u - w))
        for i, name in enumerate(("k1", "m1", "m2")):
            second = 2 * (chord[i] - older[i]) / -w
            slope = -u / 2 * second if corrected else 0  # from the chord to the parabola's slope
            weights[name] = weights.get(name, 0) + moments[2] / 2 * second + moments[1] * slope
    return {"x": weights | {NOISE: 1 - s.power(0, 2)}}


_CODE = "QinpengCui/ER-SDE-Solver at 25ca6c2e, "

PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {
        "er_sde": tuple(
            Published(f"{_CODE}{function}", (None,), (order, order), partial(_er_sde, corrected=False))
            for order, function in enumerate(("vp_1_order", "vp_2_order_taylor", "vp_3_order_taylor"), start=1)
        ),
        "er_sde_corrected": (
            Published(f"{_CODE}vp_3_order_taylor, slope put right", (None,), (3, 3), partial(_er_sde, corrected=True)),
        ),
    }
)
"""Family -> formulas; rate None, as the moments are symbols."""
