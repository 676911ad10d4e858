"""Sphinx extension: what the head of a page says to those who only see a link: a description, a picture, one title.

The description of a chapter is the question that it begins with. The picture is that of the README; its address is
whole, as previews want it, where ``html: baseurl`` in the configuration says where the book will stand. The landing
page is called like the book, so that its title is not followed by the book's.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ABOUT = (
    "Diffusion sampling as numerical analysis: samplers derived, their order proved, measured on problems with exact "
    "answers, and run on pretrained models."
)
"""What the book is, for pages that ask nothing."""

PICTURE = "_static/readme.png"

QUESTION = re.compile(r"\{admonition\} The question\n:class: [^\n]+\n(?P<words>.+?)\n\n", re.DOTALL)
MARKUP = re.compile(r"\{[a-z:]+\}`(?P<role>[^`<]*?)(?:\s*<[^`]*>)?`|[*`$\\]")


def question(source: str) -> str:
    """Question of a chapter in plain words; empty where it asks none."""
    found = QUESTION.search(source)
    return " ".join(MARKUP.sub(lambda m: m["role"] or "", found["words"]).split()) if found else ""


def tags(description: str, title: str, picture: str) -> str:
    """Elements for the head of a page."""
    told = {"description": description}
    shown = {"og:title": title, "og:description": description, "og:image": picture, "og:type": "article"}
    lines = [f'<meta name="{key}" content="{escape(value)}" />' for key, value in told.items()]
    lines += [f'<meta property="{key}" content="{escape(value)}" />' for key, value in shown.items()]
    return "\n".join(lines)


def describe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001
    """Add the elements to a page that is written."""
    if pagename not in app.env.found_docs:
        return
    asked = question(Path(app.env.doc2path(pagename)).read_text(encoding="utf-8"))
    title = re.sub(r"<[^>]+>", "", str(context.get("title", "")))
    base = app.config.html_baseurl
    picture = f"{base.rstrip('/')}/{PICTURE}" if base else context["pathto"](PICTURE, 1)
    context["metatags"] = context.get("metatags", "") + "\n" + tags(asked or ABOUT, title, picture)
    if pagename == app.config.root_doc:
        context["docstitle"] = ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to pages that are written."""
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
