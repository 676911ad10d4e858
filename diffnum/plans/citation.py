"""What to cite: the works behind a method, or behind all that a plan is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from diffnum._version import __version__
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.plans.record import Plan

__all__ = ["SCHEDULES", "cite"]

SCHEDULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "edm": "karras2022edm",
        "flow": "lipman2023flow",
        "mean-reverting": "luo2023irsde",
        "sub-vp": "song2021sde",
        "ve": "song2021sde",
        "vp-cosine": "nichol2021improved",
        "vp-fitted": "karras2022edm",
        "vp-linear": "song2021sde",
    }
)
"""Schedule -> key of the work that proposes it; tables and Brownian motion have none."""

_OWN = f"""@software{{diffnum,
  title   = {{diffnum: reference numerics of diffusion sampling}},
  author  = {{{{The diffnum developers}}}},
  version = {{{__version__}}},
}}
"""


def cite(*used: Plan | Method | str) -> str:
    """BibTeX of what was used.

    Parameters
    ----------
    *used : Plan, Method or str
        Plans (their methods and schedules are cited), records, or names of them.

    Returns
    -------
    str
        Entries of BibTeX, this package's own first.

    Raises
    ------
    TypeError
        If one is none of these, or nothing is given.
    ValueError
        If there is no method of that name.

    Examples
    --------
    >>> "title         = {{DPM-Solver++}" in cite("dpmpp_2m")
    True
    """
    if not used:
        msg = "nothing is given: pass plans, methods, or names of methods"
        raise TypeError(msg)
    for one in used:
        if not isinstance(one, Plan | Method | str):
            msg = f"used={one!r} is a {type(one).__name__}: pass a plan, a method, or the name of one"
            raise TypeError(msg)
    entries = _bibliography()
    return "\n".join([_OWN, *(entries[key] for key in dict.fromkeys(key for one in used for key in _keys(one)))])


def _keys(used: Plan | Method | str) -> Iterator[str]:
    """Keys of the works, that of the method first."""
    if isinstance(used, Plan):
        if _known(used.method):
            yield from _keys(used.method)
        if used.schedule.name in SCHEDULES:
            yield SCHEDULES[used.schedule.name]
        return
    record = find_method(used) if isinstance(used, str) else used
    yield record.cite


def _known(name: str) -> bool:
    """Whether the catalogue has a method of that name; found plans have names of their own."""
    try:
        find_method(name)
    except ValueError:
        return False
    return True


@cache
def _bibliography() -> Mapping[str, str]:
    """Key -> entry, from the file in the installed package, or of the book beside it in the repository."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "_references.bib", package.parent / "book" / "references.bib")
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        msg = f"{places[0]} is missing: install the package again"
        raise FileNotFoundError(msg)
    text = file.read_text(encoding="utf-8")
    return {match[1]: match[0] + "\n" for match in re.finditer(r"^@\w+\{([^,\s]+),.*?^\}", text, re.M | re.S)}
