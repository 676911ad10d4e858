"""Sphinx extension: what is folded says what is in it.

MyST-NB writes the same words above every folded cell. Here they name what the code makes: the figure or table below,
the sentence that it computes, the functions that it defines. A cell's own ``code_prompt_show`` stays.
"""

from __future__ import annotations

import ast
import re

from docutils import nodes
from sphinx.application import Sphinx

FIGURE, TABLE, FORMULA, SENTENCE = "the figure below", "the table below", "the formula below", "the sentence below"
MADE = {
    "table": TABLE, "shaded": TABLE, "shown": FIGURE, "dots": FIGURE, "plot_errors": FIGURE, "claim": SENTENCE,
    "Markdown": SENTENCE, "rows": FORMULA, "formula": FORMULA, "proof": "the proof below", "images": "the images below",
}  # fmt: skip
"""Function of ``show`` -> what it leaves on the page."""

NAMED = 3
"""So many definitions are named."""


def content(code: str, *, figure: bool = False) -> str:
    """What a cell's code is for, as a summary says it."""
    try:
        body = ast.parse(re.sub(r"^[%!].*$", "", code, flags=re.MULTILINE)).body
    except SyntaxError:  # what a cell of a notebook may be, and a module not
        return "code"
    if figure:
        return f"code of {FIGURE}"
    last = body[-1] if body else None
    if isinstance(last, ast.Expr):
        call = last.value.func if isinstance(last.value, ast.Call) else None
        of_show = isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "show"
        return f"code of {MADE.get(call.attr, 'what is below') if of_show else 'what is below'}"  # type: ignore[union-attr]
    defined = [one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
    if defined:
        return f"definition of {', '.join(defined[:NAMED])}{' and more' * (len(defined) > NAMED)}"
    if body and all(isinstance(one, ast.Import | ast.ImportFrom) for one in body):
        return "imports"
    return "preparations"


def name(app: Sphinx, doctree: nodes.document) -> None:  # noqa: ARG001
    """Put what is in it above each folded cell whose source is folded, unless its author did."""
    for cell in doctree.findall(nodes.container):
        if cell.get("hide_mode") not in ("input", "all") or not cell.children:
            continue
        metadata = cell.get("cell_metadata", {})
        if "code_prompt_show" in metadata.get("mystnb", {}):
            continue
        code = next(iter(cell.children[0].findall(nodes.literal_block)), None)
        if code is not None:
            text = content(code.astext(), figure="figure" in metadata.get("mystnb", {}))
            cell["prompt_show"] = text[0].upper() + text[1:]
            cell["prompt_hide"] = cell["prompt_show"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to pages that are read."""
    app.connect("doctree-read", name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
