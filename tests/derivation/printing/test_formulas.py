"""Printed formulas have the papers' shape, and printed code says how to use it."""

from __future__ import annotations

import pytest

import diffnum as dn
from tests.derivation.printing.cases import derive


@pytest.mark.parametrize("language", ["python", "c", "julia", "rust"])
def test_printed_code_says_how_to_use_the_weights(language: str) -> None:
    text = derive("ghvb_2.8").code(language)
    for phrase in ("weight of v1 in x", "scale = alpha", "v2 = v1", "0.8 in ghvb_2.8", "k1 evaluates at 0"):
        assert phrase in text


@pytest.mark.parametrize("name", ["deis_tab2_edm", "lms_4", "time_rk_2_1.0"])
def test_forms_that_are_variants_of_others_print_too(name: str) -> None:
    derivation = derive(name)
    assert all(derivation.formula.function in derivation.code(k) for k in ("python", "c", "julia", "rust"))
    assert derivation.code("latex") == derivation.latex()


def test_unknown_languages_are_refused() -> None:
    with pytest.raises(ValueError, match="language='cobol'"):
        derive("ddim").code("cobol")


def test_formulas_look_like_those_of_the_papers() -> None:
    two = derive("dpmpp_2m").latex()
    assert r"y_{n+1} &= \frac{\sigma_{n+1}}{\sigma_{n}}\, y_n + \alpha_{n+1}" in two
    assert r"\varphi_{1}" in two
    assert "D_{n-1}" in two
    three = derive("dpm_solver_3").latex()
    assert r"- \sigma_{n+\frac{1}{3}}" in three
    assert r"\epsilon(X_{3})" in three
    assert r"\bar{\epsilon}_{n+1} &=" in derive("ghvb_2.8").latex()


@pytest.mark.parametrize("name", list(dn.methods("all")))
def test_formulas_are_balanced(name: str) -> None:
    text = derive(name).latex()
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")
