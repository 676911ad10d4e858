"""The methods of MRS (MaRS), under their authors' names: each is a method of the catalogue on the shifted variable.

Its third order is the formula of DPM-Solver++(3M) with the second difference that lacks a factor 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from diffnum.coefficients.catalogue.members import Lookup, Members, Relatives
from diffnum.coefficients.method import Method

__all__ = ["FAMILY"]

_RELATIVES: Mapping[str, str] = {
    "ode_1": "ddim",
    "ode_2": "eab_2",
    "ode_3": "dpmpp_3m_taylor",
    "ode_3_corrected": "eab_3",
    "ode_noise_1": "eab_noise_1",
    "ode_noise_2": "eab_noise_2",
    "ode_noise_3": "dpm_solver_3m_taylor",
    "ode_noise_3_corrected": "eab_noise_3",
    "sde_1": "sde_dpmpp_1",
    "sde_2": "sde_dpmpp_2m_heun",
    "sde_3_corrected": "sde_dpmpp_3m_corrected",
    "sde_noise_1": "sde_dpm_1",
    "sde_noise_2": "sa_solver_noise_2",
    "sde_noise_3_corrected": "sa_solver_noise_3",
}

_DISTINGUISH = "the third order of the code, which has order 2; for equations with noise the code stops at order 2."


def _members(method: Lookup) -> tuple[Members, ...]:
    """Members, given the function that finds the relatives by name."""

    def build(found: re.Match[str]) -> Method | None:
        name = found[1]
        relative = method(_RELATIVES[name])
        kind, prediction = ("SDE" if name[0] == "s" else "ODE"), relative.form.prediction
        order = next(int(character) for character in name if character.isdigit())
        shipped = not name.endswith("_corrected")
        return replace(
            relative,
            name=found[0],
            title=f"MRS, {kind} solver of order {order}, {prediction} prediction" + ("" if shipped else ", put right"),
            cite="li2025mars",
            equation=f"grrrute/mr-sampler at 896764cf, step_{kind.lower()}_{('1st', '2nd', '3rd')[order - 1]}",
            summary=f"The method {relative.name} on x - mean, for mean-reverting diffusion.",
            claimed_order=order,
            aliases={},
            distinguish=_DISTINGUISH if order == 3 else "",
        )

    return (Members(rf"mrs_({'|'.join(sorted(_RELATIVES, key=len, reverse=True))})", build, (), kind="all"),)


FAMILY = Relatives(_members)
