"""Registries by stem: what the modules of a folder end in, gathered without a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

__all__ = ["constants", "gathered"]


def constants(package: str, path: Iterable[str], constant: str) -> dict[str, Any]:
    """Stem -> constant, of every module of a package that defines it; in alphabetical order.

    Parameters
    ----------
    package : str
        Dotted name of the package.
    path : iterable of str
        Its ``__path__``.
    constant : str
        Name of the constant, such as ``"DERIVATION"``.
    """
    modules = {name: import_module(f"{package}.{name}") for _, name, folder in iter_modules(path) if not folder}
    return {name: vars(module)[constant] for name, module in sorted(modules.items()) if constant in vars(module)}


def gathered(package: str, path: Iterable[str], constant: str) -> Mapping[str, Any]:
    """Union of mappings that the modules of a package define under one name.

    Raises
    ------
    ValueError
        If two modules define the same key.
    """
    union: dict[str, Any] = {}
    for stem, found in constants(package, path, constant).items():
        if twice := union.keys() & found.keys():
            msg = f"{package}.{stem}.{constant} defines {', '.join(sorted(twice))} again: use another name"
            raise ValueError(msg)
        union |= found
    return MappingProxyType(union)
