"""Sphinx directive that includes a function, class or constant of the package from its source.

````
```{package-source} diffnum.coefficients.adams.dpmpp_2m
```
````

shows the code as it ships, less remarks to linters and its docstrings (they are in the API reference), laid out by ruff
in lines that fit a page. A name that does not exist is an error of the build. ``:docstring:`` keeps the docstrings.
"""

from __future__ import annotations

import ast
import html
import importlib.util
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH = 80
"""Columns that a page shows of a line of code."""

LONGEST = 30
"""Lines of code that stand open; more are folded."""

FOLD = (
    '<details class="toggle-details"><summary class="toggle-details__summary">'
    '<span class="toggle-details__summary-text">Source of <code>{name}</code></span></summary>'
)
"""What stands above folded code, with the classes of the theme's own folds, which paper shows open."""


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
    """File and text of a definition, without its docstring unless wanted."""
    file, path = locate(name)
    text = file.read_text(encoding="utf-8")
    node = find(ast.parse(text), path)
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    lines = text.splitlines()
    kept = dict(enumerate(lines[first - 1 : node.end_lineno], first))
    if not docstring:
        for at in _docstrings(node):
            kept.pop(at, None)
    return file, fitted(textwrap.dedent("\n".join(re.sub(REMARK, "", line) for line in kept.values())))


REMARK = r"  # (noqa|type: ignore|fmt: ).*"
"""What is said to linters."""


def _docstrings(node: ast.AST) -> Iterator[int]:
    """Numbers of the lines that hold docstrings."""
    for one in ast.walk(node):
        if isinstance(one, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(one) is not None:
            doc = one.body[0]
            alone = len(one.body) == 1  # a body must stay
            yield from () if alone else range(doc.lineno, (doc.end_lineno or doc.lineno) + 1)


def fitted(code: str, width: int = WIDTH) -> str:
    """The same code in lines of so many columns: comments that stick out stand above, long words of errors are cut."""
    code = "\n".join(_above(line, width) for line in code.split("\n"))
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={width}", "-"]
    laid = subprocess.run(ruff, input=code, capture_output=True, text=True, check=True).stdout.rstrip("\n")
    return "\n".join(_in_pieces(line, width) for line in laid.split("\n"))


def _above(line: str, width: int) -> str:
    """A line whose comment, if it sticks out, stands above it."""
    found = re.fullmatch(r"(?P<indent> *)(?P<code>[^#]*?) *# (?P<words>[^#\"]*)", line)
    if len(line) <= width or not found:
        return line
    comment = textwrap.wrap(found["words"], width - len(found["indent"]) - 2)
    return "\n".join(found["indent"] + part for part in [*(f"# {c}" for c in comment), found["code"]] if part)


def _in_pieces(line: str, width: int) -> str:
    """A line of text, alone or as the value of a name or key, in pieces that are joined by standing together."""
    found = re.fullmatch(
        r"(?P<indent> *)(?P<name>msg = |\w+=|\"[^\"\\]*\": )?(?P<kind>f?)\"(?P<words>[^\"\\]*)\"(?P<end>,?)", line
    )
    if len(line) <= width or not found:
        return line
    inner = found["indent"] + " " * 4 * bool(found["name"])
    pieces, room = [""], width - len(inner) - len(found["kind"]) - 3
    for word in re.findall(r"(?:\{[^}]*\}|[^ ])+ *", found["words"]):
        pieces = [*pieces, word] if len(pieces[-1] + word) > room else [*pieces[:-1], pieces[-1] + word]
    body = [f'{inner}{found["kind"] if "{" in piece else ""}"{piece}"' for piece in pieces if piece]
    if found["name"]:
        return "\n".join([f"{found['indent']}{found['name']}(", *body, f"{found['indent']}){found['end']}"])
    body[-1] += found["end"]
    return "\n".join(body)


def _raw(text: str) -> nodes.raw:
    """Piece of a page."""
    return nodes.raw("", text, format="html")


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
        if code.count("\n") < LONGEST:
            return [block]
        return [_raw(FOLD.format(name=html.escape(name))), block, _raw("</details>")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("package-source", PackageSource)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
