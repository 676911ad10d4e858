"""What is folded on a page says what is in it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from tests.book.test_tools import BOOK, CELL, CONTENTS, load

nodes = pytest.importorskip("docutils.nodes", reason="Sphinx comes with the book: make book")
pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
folded = load(BOOK / "_ext/folded.py")
included = load(BOOK / "_ext/package_source.py")


@pytest.mark.parametrize(
    ("code", "figure", "said"),
    [
        ("import numpy as np\nimport show", False, "imports"),
        ("def f():\n    return 1\n\nx = f()", False, "definition of f"),
        ("\n".join(f"def f{k}(): pass" for k in range(4)), False, "definition of f0, f1, f2 and more"),
        ("show.table(['a'], [[1]])", False, "code of the table below"),
        ("def f(): pass\nshow.shaded(['a'], [[1.0]])", False, "code of the table below"),
        ("show.claim(1 < 2, 'So.')", False, "code of the sentence below"),
        ("x = 1\nshow.shown(ax)", False, "code of the figure below"),
        ("other(ax)", True, "code of the figure below"),
        ("other.claim(ax)", False, "code of what is below"),
        ("%pip install this\nx", False, "code of what is below"),
        ("x = 1", False, "preparations"),
        ("", False, "preparations"),
        ("x = = 1", False, "code"),
    ],
)
def test_a_summary_says_what_the_code_is_for(code: str, figure: bool, said: str) -> None:
    assert folded.content(code, figure=figure) == said


def cell(code: str, **attributes: object) -> nodes.container:
    """A folded cell as MyST-NB leaves it."""
    block = nodes.literal_block(code, code)
    prompt = "Show code cell {type}"
    return nodes.container("", nodes.container("", block), prompt_show=prompt, prompt_hide=prompt, **attributes)


def test_cells_whose_source_is_folded_are_named_unless_their_author_did() -> None:
    ours = cell("show.claim(1, 'x')", hide_mode="input", cell_metadata={})
    theirs = cell("show.claim(1, 'x')", hide_mode="input", cell_metadata={"mystnb": {"code_prompt_show": "Mine"}})
    output = cell("show.claim(1, 'x')", hide_mode="output", cell_metadata={})
    open_one = cell("show.claim(1, 'x')")
    page = SimpleNamespace(findall=lambda _: [ours, theirs, output, open_one])
    folded.name(None, page)
    assert ours["prompt_show"] == ours["prompt_hide"] == "Code of the sentence below"
    assert {one["prompt_show"] for one in (theirs, output, open_one)} == {"Show code cell {type}"}


def test_folded_source_of_the_package_is_named() -> None:
    name = "diffnum.coefficients.adams.dpmpp_2m"
    directive = object.__new__(included.PackageSource)
    directive.arguments, directive.options = [name], {}
    directive.state = SimpleNamespace(
        document=SimpleNamespace(settings=SimpleNamespace(env=SimpleNamespace(note_dependency=lambda _: None)))
    )
    directive.set_source_info = lambda _: None
    (block,) = directive.run()
    assert isinstance(block, nodes.literal_block), "what is short stands open"
    included.LONGEST, long = 1, included.LONGEST
    try:
        opening, block, closing = directive.run()
    finally:
        included.LONGEST = long
    assert re.findall(r"Source of <code>(\S+)</code></span></summary>$", opening.astext()) == [name]
    assert (opening.astext().count("<details"), closing.astext()) == (1, "</details>")
    assert isinstance(block, nodes.literal_block)


def test_few_folded_cells_of_the_book_stay_nameless() -> None:
    vague, all_of_them = [], 0
    for page in CONTENTS:
        for text in CELL.findall((BOOK / f"{page}.md").read_text(encoding="utf-8")):
            head, _, body = text.rpartition("\n---\n") if text.startswith("---\n") else ("", "", text)
            if re.search(r"hide-(input|cell)", text) and "code_prompt_show" not in text:
                all_of_them += 1
                code = "\n".join(line for line in body.splitlines() if not line.startswith(":"))
                said = folded.content(code, figure="figure:" in head)
                vague += [(page, said)] * (said in ("code", "preparations", "code of what is below"))
    assert all_of_them > 300
    assert len(vague) < 0.1 * all_of_them
    assert "code" not in {said for _, said in vague}, "every cell is read"
