"""The catalogue: every method as a record.

To add a method, write its weights in the module of its family, and a record in the module of the same name here;
every test that runs over the catalogue then covers it. Families with a parameter in their name (``eab_4``,
``ghvb_2.3``) are built on demand by :func:`method`; :func:`methods` lists the members that are documented, proved
and measured by default.
"""

from __future__ import annotations

import copyreg
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import Any

from diffnum.coefficients.catalogue.hosts import host_name
from diffnum.coefficients.catalogue.members import Kind, Members, Relatives
from diffnum.coefficients.method import Method
from diffnum.jobs.stems import constants

__all__ = ["Catalogue", "aliases", "method", "methods"]

_FIRST = (
    "adams",
    "constant_steps",
    "runge_kutta",
    "exponential_runge_kutta",
    "predictor_corrector",
    "momentum",
    "flow",
    "stochastic",
    "splitting",
)
"""Families that lists begin with; the other ones follow by name."""


def _relative(name: str) -> Method:
    """Record by name, for families that are made of others."""
    return method(name)


def _stem(item: tuple[str, object]) -> tuple[int, str]:
    """Place of a family in lists."""
    return (_FIRST.index(item[0]) if item[0] in _FIRST else len(_FIRST), item[0])


def _gathered() -> Iterator[Members]:
    """Members of all families, each from the module of its stem."""
    for _, family in sorted(constants(__name__, __path__, "FAMILY").items(), key=_stem):
        yield from family.members(_relative) if isinstance(family, Relatives) else family


_MEMBERS = tuple(_gathered())
_KINDS: tuple[Kind, ...] = ("deterministic", "stochastic", "all")
_LISTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        kind: tuple(name for members in _MEMBERS if kind in ("all", members.kind) for name in members.listed)
        for kind in _KINDS
    }
)
_ALIASES = MappingProxyType({alias: name for members in _MEMBERS for alias, name in members.aliases.items()})


class Catalogue(Mapping[str, Method]):
    """Name -> record. Iterates over the listed methods; any name that :func:`method` knows can be looked up.

    Parameters
    ----------
    listed : tuple of str
        Names to iterate over.
    """

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


def methods(kind: Kind = "deterministic") -> Mapping[str, Method]:
    """Methods, name -> :class:`~diffnum.coefficients.method.Method`.

    Iteration gives the listed ones, which are documented, proved and measured by default; members of
    parametrised families that are not listed (``eab_6``, ``ghvb_3.5``, ``unipc_4_bh1``) are there all the same.

    Parameters
    ----------
    kind : {"deterministic", "stochastic", "all"}
        Solvers of the probability-flow ODE, of the reverse SDE, or both.

    Returns
    -------
    mapping of str to Method

    Raises
    ------
    ValueError
        If ``kind`` is none of these.
    """
    if kind not in _LISTED:
        msg = f"kind={kind!r} is unknown: use one of {', '.join(_LISTED)}"
        raise ValueError(msg)
    return Catalogue(_LISTED[kind])


def aliases() -> Mapping[str, str]:
    """Short and foreign names that :func:`method` understands, mapped to catalogue names.

    Returns
    -------
    mapping of str to str
    """
    return _ALIASES


def method(name: str) -> Method:
    """Record of a method by name, alias or family member.

    Parameters
    ----------
    name : str
        Such as ``"ddim"``, ``"dpmpp_2m"``, ``"unipc_3_bh2"``, ``"ghvb_2.3"``, ``"deis_tab3"``, ``"eab_5"``; also what
        ComfyUI and RES4LYF call it (:mod:`diffnum.coefficients.catalogue.hosts`).

    Returns
    -------
    Method

    Raises
    ------
    ValueError
        If there is no such method; the nearest names are listed.
    TypeError
        If ``name`` is not a string.
    """
    if not isinstance(name, str):
        msg = f"method={name!r} is not a string: pass the name of a method, such as 'dpmpp_2m'"
        raise TypeError(msg)
    return _found(name)


@cache
def _found(name: str) -> Method:
    """Record of a name."""
    if name in _ALIASES:
        return method(_ALIASES[name])
    for members in _MEMBERS:
        if (found := re.fullmatch(members.pattern, name)) and (record := members.build(found)):
            return record if record.name == name else method(record.name)
    if (host := host_name(name)) is not None:
        if host.equal:
            return method(host.record)
        ours = repr(host.record)
        msg = f"method={name!r} of {host.program} differs by this from {ours}: {host.differs}; use {ours}"
        raise ValueError(msg)
    near = get_close_matches(name.lower(), [*_LISTED["all"], *_ALIASES], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    msg = f"method={name!r} is unknown: {hint}dn.methods() lists them all"
    raise ValueError(msg)


def _reduced(record: Method) -> tuple[Any, ...]:
    """A record of the catalogue is pickled by name, and is itself again; one of the user's by its fields."""
    try:
        own = method(record.name) is record
    except ValueError:
        own = False
    return (method, (record.name,)) if own else tuple(record.__reduce_ex__(4))


copyreg.pickle(Method, _reduced)  # type: ignore[arg-type]
