"""Derivations: an independent road to every weight, from the exact integral to the step.

Nothing here imports :mod:`diffnum.coefficients`; :mod:`diffnum.proofs` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation.records import Derivation, Derived, Identity, Line, OnBases, Proof, Residuals, Scheme
from diffnum.jobs.stems import gathered

__all__ = ["DERIVATIONS", "SCHEMES", "Derivation", "Derived", "Identity", "Line", "Proof", "Residuals", "Scheme"]

_FOUND: Final[Mapping[str, Any]] = gathered(__name__, __path__, "DERIVATION")

DERIVATIONS: Final[Mapping[str, Callable[..., Derived]]] = MappingProxyType(
    {family: found.on(_FOUND) if isinstance(found, OnBases) else found for family, found in _FOUND.items()}
)
"""Family of a method -> ``derivation(window, order, rate, **options) -> Derived``."""

SCHEMES: Final[Mapping[str, Scheme]] = gathered(__name__, __path__, "SCHEME")
"""Name -> way to bring in noise."""
