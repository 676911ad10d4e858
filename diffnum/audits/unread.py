"""Options that a class accepts and that none of its code reads, found in its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["BY_OTHERS", "read_in", "unread"]

CALLS = ("__init__", "set_timesteps", "step")
"""Methods whose arguments are options."""

_PIPELINES = "pipelines make mu of it"
BY_OTHERS: Mapping[str, str] = {
    **dict.fromkeys(("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"), _PIPELINES),
    "correct_steps": "its pipeline counts with it",
}
"""Options of a constructor that code outside of the class reads, from ``scheduler.config``."""


def unread(cls: type[Any]) -> Mapping[str, tuple[str, ...]]:
    """Arguments that no code of a class can heed.

    Parameters
    ----------
    cls : type
        A scheduler, by the conventions of diffusers: arguments of the constructor are kept in ``self.config``.

    Returns
    -------
    mapping of str to tuple of str
        Names by the method that accepts them: the constructor ``__init__``, ``set_timesteps``, ``step``. Code that
        nothing reaches from a public method reads nothing, and an attribute that is only written is not read.
    """
    methods = _methods(cls)
    methods = _reached(methods, [name for name in methods if not name.startswith("_") or name.startswith("__")])
    read = {name for one in methods.values() for name in _attributes(one)}
    found = {}
    for call, method in methods.items():
        if call not in CALLS:
            continue
        used = _names(method)
        for name, kept in _stored(method).items():
            if kept not in read:
                used.remove(name)  # this once it is written, and never read again
        every = (*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs)
        known = {*used, "self", *((*read, *BY_OTHERS) if call == "__init__" else ())}
        idle = tuple(a.arg for a in every if a.arg not in known)
        if idle:
            found[call] = idle
    return found


def read_in(cls: type[Any], *calls: str) -> frozenset[str]:
    """Options of the constructor that some methods read, or methods that they call.

    Parameters
    ----------
    cls : type
        A scheduler, by the conventions of diffusers.
    *calls : str
        Names of methods.

    Returns
    -------
    frozenset of str
        An option counts where it is read from the configuration, and where an attribute is that is the option itself.
    """
    methods = _methods(cls)
    read = {name for one in _reached(methods, list(calls)).values() for name in _attributes(one)}
    kept = _stored(methods["__init__"]) if "__init__" in methods else {}
    return frozenset({*read, *(option for option, attribute in kept.items() if attribute in read)})


def _methods(cls: type[Any]) -> dict[str, ast.FunctionDef]:
    """Methods of a class, and of those of its own package that it derives from, by name."""
    package = cls.__module__.partition(".")[0]
    found: dict[str, ast.FunctionDef] = {}
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == package:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            for one in getattr(tree, "body", []):
                if isinstance(one, ast.FunctionDef):
                    found.setdefault(one.name, one)
    return found


def _reached(methods: Mapping[str, ast.FunctionDef], calls: list[str]) -> dict[str, ast.FunctionDef]:
    """Methods that are called, and those that they call in turn."""
    todo = list(calls)
    found: dict[str, ast.FunctionDef] = {}
    while todo:
        name = todo.pop()
        if name in methods and name not in found:
            found[name] = methods[name]
            todo += _attributes(methods[name])
    return found


def _inside(method: ast.FunctionDef) -> Iterator[ast.AST]:
    """What the body of a method is made of; not its arguments, whose defaults read nothing."""
    for statement in method.body:
        yield from ast.walk(statement)


def _attributes(method: ast.FunctionDef) -> set[str]:
    """Attributes that a method reads, by dot or by ``getattr`` and the like."""
    found = set()
    for node in _inside(method):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.add(node.attr)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


def _names(method: ast.FunctionDef) -> list[str]:
    """Names that a method reads, as often as it does."""
    return [n.id for n in _inside(method) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]


def _stored(method: ast.FunctionDef) -> dict[str, str]:
    """Attributes that are an argument as it stands, by the argument."""
    return {
        node.value.id: node.targets[0].attr
        for node in _inside(method)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Name)
        and isinstance(node.targets[0], ast.Attribute)
    }
