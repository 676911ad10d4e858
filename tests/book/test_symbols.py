"""The index of symbols finds what formulas hold, and every symbol of the notation is used."""

from __future__ import annotations

import pytest

from tests.book.test_tools import BOOK, load

pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
symbols = load(BOOK / "_ext/symbols.py")


@pytest.mark.parametrize(
    ("symbol", "formula", "there"),
    [
        ("x_0", r"\alpha x_{0} + \sigma\epsilon", True),
        ("x_0", r"x_1 = x", False),
        ("x", r"x_t", False),
        ("u_j", r"\prod_i (s - u_{n-1})", True),
        ("h", r"\chi", False),
        ("h", r"e^{\kappa h}", True),
        (r"\alpha", r"\bar\alpha", False),
        (r"\bar\alpha_i", r"\sqrt{\bar\alpha_{i-1}}", True),
        (r"\epsilon - D", r"\int (\epsilon - D)\,\mathrm{d}t", True),
    ],
)
def test_a_symbol_is_found_in_formulas_that_hold_it(symbol: str, formula: str, there: bool) -> None:
    assert symbols.occurs(symbol, symbols.tokens(formula)) is there


def test_formulas_are_read_and_code_is_not() -> None:
    page = "one $a_1$, cost \\$3\n\n$$\nb\n$$\n\n```{code-cell} python\nx = '$c$'\n```\n"
    assert symbols.formulas(page) == [("a", "_", "1"), ("b",)]


def test_every_symbol_of_the_notation_is_used_in_some_chapter() -> None:
    page = (BOOK / "reference/notation.md").read_text(encoding="utf-8")
    found = list(symbols.index(symbols.defined(page), symbols.chapters()))
    assert len(found) > 30
    assert [symbol for symbol, _, names in found if not names] == []


def test_only_tables_of_symbols_define() -> None:
    ours = "| symbol | meaning |\n| --- | --- |\n| $a(t)$, $b = c$ | two |"
    page = f"{ours}\n\n{ours.replace('symbol', 'source').replace('$a(t)$', '$d$')}"
    assert list(symbols.defined(page)) == [("a", "two"), ("b", "two")]


def test_every_symbol_of_the_notation_has_one_meaning() -> None:
    assert symbols.twice(symbols.defined((BOOK / "reference/notation.md").read_text(encoding="utf-8"))) == []
    assert symbols.twice([("a", "one"), ("b", "two"), ("a", "three")]) == ["a"]
