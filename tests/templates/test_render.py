"""Pages are filled in whole or not at all, and what is not there is named."""

from __future__ import annotations

import sys

import pytest

from diffnum.templates import render

jinja2 = pytest.importorskip("jinja2")

AUDIT = {"versions": "", "rows": [], "left_out": {}, "unswept": {}, "number": str}


def test_values_are_escaped() -> None:
    page = render("audit.html.j2", title="a < b", **AUDIT)
    assert "a &lt; b" in page
    assert "a < b" not in page


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("audit.html.j2", **AUDIT)


def test_without_jinja2_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[report\]'"):
        render("audit.html.j2", title="", **AUDIT)
