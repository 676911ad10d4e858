"""Derivations: an independent road to every weight, from the exact integral to the step.

Nothing here imports :mod:`diffnum.coefficients`; :mod:`diffnum.proofs` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from diffnum.derivation import (
    adams,
    compensation,
    constant_steps,
    exponential_runge_kutta,
    flow,
    model_statistics,
    momentum,
    predictor_corrector,
    runge_kutta,
    tableaux,
)
from diffnum.derivation.records import Derivation, Derived, Identity, Line, Proof, Residuals

__all__ = ["DERIVATIONS", "Derivation", "Derived", "Identity", "Line", "Proof", "Residuals"]

_PLAIN: Final[Mapping[str, Callable[..., Derived]]] = MappingProxyType(
    {
        "abm": constant_steps.abm,
        "adams": adams.adams,
        "dc_solver": compensation.dc_solver,
        "dpm_solver": runge_kutta.dpm_solver,
        "dpm_solver_v3": model_statistics.dpm_solver_v3,
        "dpmpp_2m": adams.dpmpp_2m,
        "dpmpp_3m": adams.dpmpp_3m,
        "dpmpp_3m_corrected": adams.dpmpp_3m_corrected,
        "explicit_runge_kutta": tableaux.explicit_runge_kutta,
        "exponential_runge_kutta": exponential_runge_kutta.exponential_runge_kutta,
        "ghvb": momentum.ghvb,
        "ghvb_variable": momentum.ghvb_variable,
        "heun": runge_kutta.heun,
        "ipndm_v": constant_steps.ipndm_v,
        "mdpm2": momentum.mdpm2,
        "plms": constant_steps.plms,
        "pseudo_corrector": flow.pseudo_corrector,
        "res_3s": exponential_runge_kutta.res_3s,
        "unip": predictor_corrector.unip,
        "unipc": predictor_corrector.unipc,
        "unipc_pece": predictor_corrector.unipc,
        "unipc_vary": predictor_corrector.unipc_vary,
    }
)
"""Derivations that stand on their own."""

DERIVATIONS: Final[Mapping[str, Callable[..., Derived]]] = MappingProxyType(
    {
        **_PLAIN,
        "heavy_ball": partial(momentum.heavy_ball, bases=_PLAIN),
        "nesterov": partial(momentum.nesterov, bases=_PLAIN),
    }
)
"""Family of a method -> ``derivation(window, order, rate, **options) -> Derived``."""
