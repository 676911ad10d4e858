"""Derivations: an independent road to every weight, from the exact integral to the step.

Nothing here imports :mod:`diffnum.coefficients`; :mod:`diffnum.proofs` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from diffnum.derivation import adams, momentum, predictor_corrector, runge_kutta
from diffnum.derivation.adams import Derived, Line

__all__ = ["DERIVATIONS", "Derived", "Line"]

DERIVATIONS: Final[Mapping[str, Callable[..., Derived]]] = MappingProxyType(
    {
        "adams": adams.adams,
        "dpm_solver_3": runge_kutta.dpm_solver_3,
        "dpmpp_2m": adams.dpmpp_2m,
        "dpmpp_3m": adams.dpmpp_3m,
        "dpmpp_3m_corrected": adams.dpmpp_3m_corrected,
        "ghvb": momentum.ghvb,
        "heun": runge_kutta.heun,
        "unipc": predictor_corrector.unipc,
    }
)
"""Family of a method -> ``derivation(window, order, rate, **options) -> Derived``."""
