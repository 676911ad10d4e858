"""Sphinx extension: rubrics are headings, for those who go through a page by its headings.

MyST writes a rubric as a heading only where its node has a ``level``; Sphinx's directive says ``heading-level``, and
the sections of docstrings say nothing.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx

DOCSTRING = 4
"""Level of the sections of docstrings, which stand below the headings of the API."""


def level(app: Sphinx, doctree: nodes.document) -> None:  # noqa: ARG001
    """Give every rubric the level of a heading."""
    for node in doctree.findall(nodes.rubric):
        node["level"] = node.get("level", node.get("heading-level", DOCSTRING))


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to pages that are read."""
    app.connect("doctree-read", level)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
