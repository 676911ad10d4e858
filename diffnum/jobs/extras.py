"""Packages that only parts of this one need: which extra brings them, and what to say where they are absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

__all__ = ["EXTRAS", "explained", "found_or_explained", "lacking", "required"]

EXTRAS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "diffusers": "audit",
        "flint": "verify",
        "hypothesis": "dev",
        "jinja2": "report",
        "latex2mathml": "report",
        "safetensors": "images",
        "sklearn": "train",
        "torch": "images",
        "torchsde": "dev",
        "transformers": "interop",
    }
)
"""Package as it is imported -> extra that brings it."""


def lacking(what: str, package: str, extra: str | None = None) -> ModuleNotFoundError:
    """Error that says what needs a package that is absent, and how to get it.

    Parameters
    ----------
    what : str
        What was asked for, such as ``"dn.load"``.
    package : str
        The package as it is imported; a dotted name counts for its first part.
    extra : str, optional
        Extra that brings it; that of :data:`EXTRAS` by default.
    """
    top = package.partition(".")[0]
    wanted = extra or EXTRAS[top]
    return ModuleNotFoundError(
        f"{what} needs {top}: install it with pip install '.[{wanted}]' in a clone of diffnum's repository",
        name=top,
    )


def explained(what: str, error: ModuleNotFoundError, extra: str | None = None) -> ModuleNotFoundError:
    """The error with words about extras where it is about one of them and has none; the error itself elsewhere."""
    top = (error.name or "").partition(".")[0]
    return lacking(what, top, extra) if top in EXTRAS and "pip install" not in str(error) else error


def required(package: str, what: str) -> Any:
    """Package, or an error that says what needs it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise explained(what, error) from error


def found_or_explained(module: str, name: str, what: str, extra: str | None = None) -> Any:
    """Object of a module, or a function that says what is lacking when it is called.

    So ``hasattr``, ``dir``, ``pydoc`` and star imports work whatever is installed, and the sentence comes where it
    helps.
    """
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        told = explained(what, error, extra)
        if told is error and "pip install" not in str(error):
            raise
        return _answering(name, what, told)


def _answering(name: str, what: str, error: ModuleNotFoundError) -> Callable[..., Any]:
    """A stand-in that raises when it is used."""

    def stand_in(*_: Any, **__: Any) -> Any:
        raise error

    stand_in.__name__ = stand_in.__qualname__ = name
    stand_in.__doc__ = f"{what} is not available here: {error}."
    return stand_in
