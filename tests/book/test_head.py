"""What a page says of itself to those who only see a link."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from tests.book.test_tools import BOOK, CONTENTS, load

pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
head = load(BOOK / "_ext/head.py")


def test_every_chapter_is_described_by_its_question_in_plain_words() -> None:
    asked = {name: head.question((BOOK / f"{name}.md").read_text(encoding="utf-8")) for name in CONTENTS}
    chapters = {name: words for name, words in asked.items() if not name.startswith("reference/")}
    assert [name for name, words in chapters.items() if len(words) < 30 or re.search(r"[`$]", words)] == []
    assert not any(words for name, words in asked.items() if name.startswith("reference/"))


def written(pagename: str, title: str, base: str = "") -> dict[str, Any]:
    """Context of a page after the extension has seen it."""
    context: dict[str, Any] = {"title": title, "docstitle": "The book", "pathto": lambda name, _: f"../{name}"}
    env = SimpleNamespace(found_docs={pagename}, doc2path=lambda name: str(BOOK / f"{name}.md"))
    app: Any = SimpleNamespace(env=env, config=SimpleNamespace(root_doc="index", html_baseurl=base))
    head.describe(app, pagename, "page.html", context, None)
    return context


def test_a_page_has_a_description_and_a_picture_and_the_landing_page_its_title_once() -> None:
    chapter, landing = written("solvers/adams", "Adams <em>methods</em>"), written("index", "The book")
    assert 'name="description" content="A sampler has evaluated the network' in chapter["metatags"]
    assert 'property="og:title" content="Adams methods"' in chapter["metatags"]
    assert 'property="og:image" content="../_static/readme.png"' in chapter["metatags"]
    assert chapter["docstitle"] == "The book"
    assert landing["docstitle"] == ""
    assert head.ABOUT in landing["metatags"]


@pytest.mark.parametrize("base", ["https://a.org/book", "https://a.org/book/"])
def test_a_picture_has_a_whole_address_where_the_book_has_one(base: str) -> None:
    context = written("solvers/adams", "Adams", base)
    assert 'property="og:image" content="https://a.org/book/_static/readme.png"' in context["metatags"]


def test_words_are_escaped() -> None:
    assert 'content="a &quot;b&quot; &lt;c&gt;"' in head.tags('a "b" <c>', "t", "p.png")


def test_rubrics_are_headings() -> None:
    nodes = pytest.importorskip("docutils.nodes")
    headings = load(BOOK / "_ext/headings.py")
    page = nodes.container()
    page += [
        nodes.rubric("", "method", **{"heading-level": 3}),
        nodes.rubric("", "Notes"),
        nodes.rubric("", "x", level=2),
    ]
    headings.level(SimpleNamespace(), page)
    assert [node["level"] for node in page.findall(nodes.rubric)] == [3, headings.DOCSTRING, 2]
    assert "headings: _ext" in (BOOK / "_config.yml").read_text(encoding="utf-8")
