"""The catalogue: every method as a record.

To add a method, write its weights in the module of its family, and a record in the module of the same name here;
every test that runs over the catalogue then covers it. Families with a parameter in their name (``eab_4``,
``ghvb_2.3``) are built on demand by :func:`method`; :func:`methods` lists the members that are documented, proved
and measured by default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import Literal

from diffnum.coefficients.catalogue import (
    adams,
    compensation,
    constant_steps,
    exponential_runge_kutta,
    flow,
    mean_reverting,
    momentum,
    predictor_corrector,
    runge_kutta,
    splitting,
    stochastic,
)
from diffnum.coefficients.method import Method

__all__ = ["Catalogue", "aliases", "method", "methods"]

_DETERMINISTIC = (
    *adams.FAMILIES,
    *constant_steps.FAMILIES,
    *runge_kutta.FAMILIES,
    *exponential_runge_kutta.FAMILIES,
    *predictor_corrector.FAMILIES,
    *momentum.FAMILIES,
    *flow.FAMILIES,
    *compensation.FAMILIES,
)
_STOCHASTIC = (*stochastic.FAMILIES, *splitting.FAMILIES)


def _relative(name: str) -> Method:
    """Record by name, for families that rename others."""
    return method(name)


_FAMILIES = (*_DETERMINISTIC, *_STOCHASTIC, *mean_reverting.families(_relative))
_LISTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        kind: tuple(name for family in families for name in family.listed)
        for kind, families in (
            ("deterministic", _DETERMINISTIC),
            ("stochastic", _STOCHASTIC),
            ("all", _FAMILIES),
        )
    }
)
_ALIASES = MappingProxyType({alias: name for family in _FAMILIES for alias, name in family.aliases.items()})


class Catalogue(Mapping[str, Method]):
    """Name -> record. Iterates over the listed methods; any name that :func:`method` knows can be looked up."""

    def __init__(self, listed: tuple[str, ...]) -> None:
        self._listed = listed

    def __getitem__(self, name: str) -> Method:
        try:
            return method(name)
        except ValueError as error:
            raise KeyError(str(error)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)

    def __repr__(self) -> str:
        return f"Catalogue({', '.join(self._listed)})"


def methods(kind: Literal["deterministic", "stochastic", "all"] = "deterministic") -> Mapping[str, Method]:
    """Methods, name -> :class:`~diffnum.coefficients.method.Method`.

    Iteration gives the listed ones, which are documented, proved and measured by default; members of
    parametrised families that are not listed (``eab_6``, ``ghvb_3.5``, ``unipc_4_bh1``) are there all the same.

    Parameters
    ----------
    kind : {"deterministic", "stochastic", "all"}
        Solvers of the probability-flow ODE, of the reverse SDE, or both.

    Raises
    ------
    ValueError
        If ``kind`` is none of these.
    """
    if kind not in _LISTED:
        raise ValueError(f"kind={kind!r} is unknown: use one of {', '.join(_LISTED)}")
    return Catalogue(_LISTED[kind])


def aliases() -> Mapping[str, str]:
    """Short and foreign names that :func:`method` understands, mapped to catalogue names."""
    return _ALIASES


@cache
def method(name: str) -> Method:
    """Record of a method by name, alias or family member.

    Parameters
    ----------
    name : str
        Such as ``"ddim"``, ``"dpmpp_2m"``, ``"unipc_3_bh2"``, ``"ghvb_2.3"``, ``"deis_tab3"``, ``"eab_5"``.

    Raises
    ------
    ValueError
        If there is no such method; the nearest names are listed.
    TypeError
        If ``name`` is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"method={name!r} is not a string: pass the name of a method, such as 'dpmpp_2m'")
    name = _ALIASES.get(name, name)
    for family in _FAMILIES:
        if (found := re.fullmatch(family.pattern, name)) and (record := family.build(found)):
            return record
    near = get_close_matches(name.lower(), [*_LISTED["all"], *_ALIASES], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"method={name!r} is unknown: {hint}dn.methods() lists them all")
