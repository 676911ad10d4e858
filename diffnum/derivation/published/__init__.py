r"""Formulas exactly as their authors print or ship them, in their own notation.

Each function returns the weights of the gain (``alpha_t`` for data, ``-sigma_t`` for noise prediction) in the rows of
a step. The papers write h for the step in half-log-SNR and r_0, r_1, ... > 0 for ratios of earlier steps to it;
official codes write :math:`\psi_1(z) = e^z - 1`, :math:`\psi_{k+1}(z) = \psi_k(z)/z - 1/k!`, z = -h for data and +h
for noise, and then both predictions have :math:`x_t = A x_s - C \sum_k \psi_{k+1}(z) h^k F^{(k)}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from diffnum.derivation.printing.notation import Published
from diffnum.derivation.records import OnBases
from diffnum.jobs.stems import gathered

__all__ = ["PUBLISHED", "Published"]

_FOUND: Final[Mapping[str, tuple[Published, ...]]] = gathered(__name__, __path__, "PUBLISHED")


def _bound(formula: Published) -> Published:
    """Formula that knows those that it builds on."""
    return replace(formula, rows=formula.rows.on(_FOUND)) if isinstance(formula.rows, OnBases) else formula


PUBLISHED: Final[Mapping[str, tuple[Published, ...]]] = MappingProxyType(
    {family: tuple(_bound(formula) for formula in formulas) for family, formulas in _FOUND.items()}
)
"""Family of a method -> formulas, in data and in noise prediction where both are printed."""
