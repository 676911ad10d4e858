"""Formulas on a narrow screen: what ``book/static/formulas.js`` makes of those that are wider than their column."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"

PAGE = """<!DOCTYPE html>
<style>{style} p {{ width: 200px; margin: 0 }} mjx-container[display] {{ display: block }}</style>
<script>window.MathJax = {{ startup: {{ promise: Promise.resolve() }} }}; {script}</script><article>{body}</article>"""

FORMULA = (
    '<span class="math"><mjx-container {how}><svg style="width: {width}em; height: 1em"></svg></mjx-container></span>'
)

MEASURED = """JSON.stringify([...document.querySelectorAll("mjx-container")].map((box) => ({
  shown: box.querySelector("svg").getBoundingClientRect().width, scrolls: box.classList.contains("wide"),
  word: box.closest(".unbroken")?.textContent ?? ""})))"""


@pytest.fixture
def look() -> Any:
    sys.path.insert(0, str(BOOK / "tools"))
    spec = importlib.util.spec_from_file_location("_book_look_formulas", BOOK / "tools/look.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path.remove(str(BOOK / "tools"))
    if module.installed() is None:
        pytest.skip("Chromium is not installed")
    return module


def seen(look: Any, page: Path) -> Any:
    """What a browser makes of the formulas of a page."""

    async def ask() -> Any:
        async with look.chromium(look.installed()) as browser:
            await browser.open(page, look.VIEWS[1])
            return json.loads(await browser.evaluate(MEASURED))

    return asyncio.run(ask())


def test_formulas_shrink_a_little_or_scroll_and_keep_their_full_stops(look: Any, tmp_path: Path) -> None:
    kinds = [("", 5), ("", 15), ("", 40), ('display="true"', 15), ('display="true"', 40)]
    texts = [FORMULA.format(how=how, width=width) for how, width in kinds]
    body = f"<p>See ({texts[0]}), here.</p>" + "".join(f"<p>{text}, so.</p>" for text in texts[1:])
    style, script = ((BOOK / f"static/{name}").read_text("utf-8") for name in ("book.css", "formulas.js"))
    page = tmp_path / "formulas.html"
    page.write_text(PAGE.format(style=style, script=script, body=body), encoding="utf-8")
    short, little, much, shown, long = seen(look, page)
    assert short == {"shown": 80, "scrolls": False, "word": "(),"}
    assert 195 < little["shown"] < 200
    assert little["word"] == ","
    assert not little["scrolls"]
    assert much["shown"] == 640
    assert much["scrolls"]
    assert 195 < shown["shown"] < 200
    assert shown["word"] == ""  # a displayed formula stands alone
    assert long == {"shown": 640, "scrolls": False, "word": ""}  # those scroll anyway


def test_a_formula_in_a_line_of_a_cell_has_the_width_of_the_cell(look: Any, tmp_path: Path) -> None:
    texts = [FORMULA.format(how="", width=width) for width in (5, 15, 40)]
    cells = "".join(f'<div style="width: 200px"><p style="display: inline">{text}</p></div>' for text in texts)
    style, script = ((BOOK / f"static/{name}").read_text("utf-8") for name in ("book.css", "formulas.js"))
    page = tmp_path / "cells.html"
    page.write_text(PAGE.format(style=style, script=script, body=cells), encoding="utf-8")
    short, little, much = seen(look, page)
    assert (short["shown"], short["scrolls"]) == (80, False)
    assert 195 < little["shown"] < 200
    assert not little["scrolls"]
    assert much["scrolls"]
