"""What a family module hands to the catalogue."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diffnum.coefficients.method import Method

__all__ = ["MAX_ORDER", "Family", "fixed"]

MAX_ORDER = 12
"""Highest order built on demand; Adams methods beyond it amplify rounding more than they gain."""


@dataclass(frozen=True)
class Family:
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
    """

    pattern: str
    build: Callable[[re.Match[str]], Method | None]
    listed: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)


def fixed(name: str, build: Callable[[str], Method], **aliases: str) -> Family:
    """Family of one method without parameters."""
    return Family(re.escape(name), lambda found: build(found[0]), (name,), aliases)
