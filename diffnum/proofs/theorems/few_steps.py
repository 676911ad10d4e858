"""Theorems on methods for few steps: what EPD is before it has more than one point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from diffnum.coefficients.catalogue import method as find_method
from diffnum.derivation import Identity
from diffnum.proofs.claims import decide
from diffnum.proofs.steps import Case, step_difference, top_case

__all__ = ["THEOREMS"]


def _epd(top: Case) -> Iterator[Identity]:
    if top.record.options["points"] == 1:
        yield decide("with one point it is dpm_solver_2", lambda: _is_dpm_solver_2(top))


def _is_dpm_solver_2(top: Case) -> str:
    return step_difference(top.shipped, top_case(find_method("dpm_solver_2")).shipped_in(top.symbols))


THEOREMS: Final[Mapping[str, Callable[[Case], Iterator[Identity]]]] = MappingProxyType({"epd": _epd})
