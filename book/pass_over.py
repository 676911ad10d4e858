"""A notebook runs with what its reader has: a cell that needs an absent package says so, and the others run.

The first cell of a chapter that was taken away calls :func:`start`. From then on a cell that fails because a package of
an extra is not installed, or because a cell before it failed so, prints what to install in place of its result. Every
other error is raised as ever. The pages of the book are made without this: there nothing may be absent.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from types import ModuleType, TracebackType
from typing import Any

from IPython.core.getipython import get_ipython

from diffnum.jobs.extras import EXTRAS

__all__ = ["PassOver", "start"]

NAME = "_pass_over"
"""What cells know the guard by."""

SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)


def start() -> None:
    """Guard the cells that come after this one, where a package of an extra is absent."""
    shell = get_ipython()
    if shell is not None and NAME not in shell.user_ns and any(find_spec(package) is None for package in EXTRAS):
        shell.user_ns[NAME] = guard = PassOver(shell.user_ns)
        shell.ast_transformers.append(guard)


class PassOver:
    """Guard of a session's cells: rewrites each, and is the context in which it runs.

    Imports at the head of a cell run one by one, so that one that fails does not take the others along. The rest of
    the cell ends where something is absent; what it would have bound or changed from there on is taken away, so that no
    cell goes on with half of it.

    Parameters
    ----------
    names : dict
        Names of the session.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._lost: dict[str, str] = {}  # name -> package for want of which no cell has bound it
        self._cell: list[ast.stmt] = []
        self._told = False

    # -- before a cell runs: IPython's face of a transformer ---------------------------------------------

    def visit(self, cell: ast.Module) -> ast.Module:
        """Cell whose statements run under this guard; its last value is shown as without it."""
        self._cell, self._told = list(cell.body), False
        head = next((k for k, statement in enumerate(cell.body) if not isinstance(statement, IMPORTS)), len(cell.body))
        rest = [*cell.body[head:]]
        if rest and isinstance(rest[-1], ast.Expr):
            shown = ast.Attribute(ast.Name(NAME, ast.Load()), "show", ast.Load())
            rest[-1] = ast.copy_location(ast.Expr(ast.Call(shown, [rest[-1].value], [])), rest[-1])
        parts = [[statement] for statement in cell.body[:head]] + ([rest] if rest else [])
        cell.body = [
            ast.copy_location(ast.With([ast.withitem(ast.Name(NAME, ast.Load()))], part), part[0]) for part in parts
        ]
        return cell

    # -- while it runs -------------------------------------------------------------------------------------

    @staticmethod
    def show(value: Any) -> None:
        """Show the last value of a cell."""
        sys.displayhook(value)

    def __enter__(self) -> None:
        """Let a part of the cell begin."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Pass over what is left of the part, if it failed for want of a package."""
        package = self._wanted(error)
        if package is None or trace is None:
            return False
        begun = [statement for statement in self._cell if (statement.end_lineno or 0) >= trace.tb_lineno]
        alone = isinstance(begun[0], IMPORTS)
        self._lose(begun[:1] if alone else begun, package)
        if not self._told:
            way = f"pip install '.[{EXTRAS[package]}]' in a clone of diffnum's repository"
            print(f"Passed over for want of {package}: {way} brings it; restart the kernel then.")
        self._told = True
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close("all")  # else what was drawn so far would be shown
        return True

    def _wanted(self, error: BaseException | None) -> str | None:
        """Package for want of which something failed; None where it failed otherwise."""
        if isinstance(error, NameError):
            return self._lost.get(error.name or "")
        package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        return package if package in EXTRAS else None

    def _lose(self, statements: Iterable[ast.stmt], package: str) -> None:
        """Forget what statements would have bound or changed."""
        for statement in statements:
            for name in bound(statement):
                self._lost[name] = package
                self._names.pop(name, None)
            for name in changed(statement, self._names):
                self._lost[name] = package
                self._names.pop(name, None)


def inside(node: ast.AST) -> Iterator[ast.AST]:
    """Node and what stands in its scope, bodies of functions and classes left out."""
    yield node
    if not isinstance(node, (*SCOPES, *DEFINITIONS)):
        for child in ast.iter_child_nodes(node):
            yield from inside(child)


def bound(statement: ast.stmt) -> set[str]:
    """Names that a statement binds: targets, definitions, imports."""
    found = set()
    for node in inside(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, DEFINITIONS):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.partition(".")[0])
    return found


def changed(statement: ast.stmt, names: Mapping[str, Any]) -> set[str]:
    """Names of what a statement changes in place: ``x[k] = ...``, ``x.k = ...``, ``x.append(...)``; modules stay."""
    found = set()
    for node in inside(statement):
        place: ast.AST | None = None
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            place = node
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            place = node.value.func if isinstance(node.value.func, ast.Attribute) else None
        while isinstance(place, ast.Attribute | ast.Subscript):
            place = place.value
        if isinstance(place, ast.Name) and not isinstance(names.get(place.id), ModuleType):
            found.add(place.id)
    return found
