"""Sphinx directive that includes a function, class or constant of the package from its source.

````
```{package-source} diffnum.coefficients.adams.dpmpp_2m
```
````

shows the code as it ships, less remarks to linters, with the first line of its docstring (the whole docstring is in the
API reference). A name that does not exist is an error of the build. ``:docstring:`` keeps the docstring whole.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def locate(name: str) -> tuple[Path, list[str]]:
    """File of the module that a dotted name begins with, and the rest of the name."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            spec = importlib.util.find_spec(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        if spec is not None and spec.origin:
            return Path(spec.origin), parts[cut:]
    msg = f"{name}: no module of that name"
    raise LookupError(msg)


def find(tree: ast.AST, path: list[str]) -> Any:
    """Node of a definition."""
    for part in path:
        tree = next((node for node in getattr(tree, "body", ()) if part in _names(node)), None)  # type: ignore[assignment]
        if tree is None:
            msg = f"{'.'.join(path)} is not defined"
            raise LookupError(msg)
    return tree


def _names(node: ast.AST) -> tuple[str, ...]:
    """Names that a statement defines: of a function, a class, or a constant."""
    targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
    found = [t.id for t in targets if isinstance(t, ast.Name)]
    return (*found, node.name) if isinstance(node, ast.FunctionDef | ast.ClassDef) else tuple(found)


def source(name: str, *, docstring: bool = False) -> tuple[Path, str]:
    """File and text of a definition, its docstring cut to the first line unless wanted whole."""
    file, path = locate(name)
    text = file.read_text(encoding="utf-8")
    node = find(ast.parse(text), path)
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    lines = text.splitlines()
    block = lines[first - 1 : node.end_lineno]
    documented = isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None
    if documented and not docstring:
        doc = node.body[0]
        opening = lines[doc.lineno - 1]
        if doc.end_lineno > doc.lineno:
            opening = opening.rstrip() + '"""'
        block = [*lines[first - 1 : doc.lineno - 1], opening, *lines[doc.end_lineno : node.end_lineno]]
    return file, dedent("\n".join(re.sub(r"  # (noqa|type: ignore).*", "", line) for line in block))


class PackageSource(SphinxDirective):
    """The directive."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"docstring": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Literal block with the code."""
        name = self.arguments[0]
        try:
            file, code = source(name, docstring="docstring" in self.options)
        except (LookupError, SyntaxError) as error:
            msg = f"package-source: {error}"
            raise self.error(msg) from error
        self.env.note_dependency(str(file))
        block = nodes.literal_block(code, code, language="python", classes=["package-source"])
        self.set_source_info(block)
        return [block]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("package-source", PackageSource)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
