"""What a face offers is documented: every argument, what is returned, that it may refuse."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import diffnum as dn

PACKAGE = Path(dn.__file__).parent
ROOMS = sorted(
    path.parent.relative_to(PACKAGE.parent).as_posix().replace("/", ".") for path in PACKAGE.rglob("__init__.py")
)
FACES = [*ROOMS, "diffnum.phi", "diffnum.tableau", "diffnum.types"]
UNSAID = {"diffnum.coefficients.exponential_runge_kutta.res_3s"}  # its only error is that of a kernel that it calls


def offered(face: str) -> Iterator[tuple[str, Any]]:
    """Functions and classes of a face, with their full names."""
    module = import_module(face)
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        home = getattr(value, "__module__", None) or ""
        if home.startswith("diffnum") and (inspect.isfunction(value) or inspect.isclass(value)):
            yield f"{home}.{value.__qualname__}", value


def arguments(value: Any) -> list[str]:
    """Names that a caller gives; none for protocols, errors and enumerations."""
    told_elsewhere = inspect.isclass(value) and (
        issubclass(value, Enum | BaseException) or getattr(value, "_is_protocol", False)
    )
    if told_elsewhere:
        return []
    try:
        names = inspect.signature(value).parameters
    except (TypeError, ValueError):
        return []
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


@cache
def sections(text: str) -> dict[str, str]:
    """Sections of a numpydoc docstring."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(value: Any) -> set[str]:
    """Arguments that the docstring of a function or class explains."""
    found = sections(inspect.getdoc(value) or "")
    text = found.get("Parameters", "") + "\n" + found.get("Attributes", "")
    heads = re.findall(r"^(\S.*)$", text, re.MULTILINE)
    return {name.strip().lstrip("*") for head in heads for name in head.split(" : ")[0].split(",")}


def refuses(function: Callable[..., Any]) -> bool:
    """Whether an error is raised in the body of a function."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except OSError:  # made while the package is imported
        return False
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def gaps(value: Any) -> list[str]:
    """What a docstring does not say."""
    found = [f"argument {name}" for name in arguments(value) if name not in documented(value)]
    if inspect.isfunction(value):
        told = sections(inspect.getdoc(value) or "")
        nothing = inspect.signature(value).return_annotation in ("None", "NoReturn", None)
        found += ["what it returns"] if not nothing and not {"Returns", "Yields"} & set(told) else []
        found += ["what it raises"] if refuses(value) and "Raises" not in told else []
    return found


@pytest.mark.parametrize("face", FACES)
def test_every_name_of_a_face_says_what_it_takes_returns_and_refuses(face: str) -> None:
    assert {name: gaps(value) for name, value in offered(face) if gaps(value) and name not in UNSAID} == {}


def nothing_said(x, y):  # type: ignore[no-untyped-def]
    """Short."""
    if x:
        raise ValueError(y)
    return x


def half_said(x: float, y: float) -> float:
    """One line.

    Parameters
    ----------
    x : float
        The first.

    Returns
    -------
    float
    """
    return x + y


def test_gaps_are_seen() -> None:
    assert gaps(nothing_said) == ["argument x", "argument y", "what it returns", "what it raises"]
    assert gaps(half_said) == ["argument y"]
    assert gaps(dn.Gaussian) == []
