"""What the module of a family hands to the catalogue: its members, as patterns of names and builders of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from diffnum.coefficients.method import Method
from diffnum.jobs.shown import short

__all__ = ["MAX_ORDER", "Kind", "Lookup", "Members", "Relatives", "fixed"]

Kind: TypeAlias = Literal["deterministic", "stochastic", "all"]
"""Solvers of the probability-flow ODE, of the reverse SDE, or of one of the two."""

Lookup: TypeAlias = Callable[[str], Method]
"""Record by name."""

MAX_ORDER = 12
"""Highest order built on demand; Adams methods beyond it amplify rounding more than they gain."""


@dataclass(frozen=True)
class Members:
    """Methods whose names follow one pattern.

    Parameters
    ----------
    pattern : str
        Regular expression that a whole name must match.
    build : callable
        Record from the match; None where the parameters are out of range.
    listed : tuple of str
        Members that are documented, proved and measured by default.
    aliases : mapping of str to str
        Short and foreign names -> catalogue names.
    kind : {"deterministic", "stochastic", "all"}
        What its members solve; "all" where some solve the one and some the other.
    """

    pattern: str
    build: Callable[[re.Match[str]], Method | None]
    listed: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "deterministic"

    def __repr__(self) -> str:
        """Short form."""
        return short("Members", ", ".join(self.listed), solves=self.kind)


@dataclass(frozen=True)
class Relatives:
    """Methods that are made of others, which they look up in the catalogue.

    Parameters
    ----------
    members : callable
        Members, given the function that finds a record by name.
    """

    members: Callable[[Lookup], tuple[Members, ...]]


def fixed(name: str, build: Callable[[str], Method], **aliases: str) -> Members:
    """Members of one method without parameters."""
    return Members(re.escape(name), lambda found: build(found[0]), (name,), aliases)
