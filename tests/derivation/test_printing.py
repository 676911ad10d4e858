"""Printed code computes the shipped weights; printed formulas have the papers' shape."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

import diffnum as dn
from diffnum import proofs
from diffnum.forms import ExponentialKernel, TabulatedKernel
from diffnum.proofs import Derivation
from diffnum.tableau import Window

PAST = (-1.3, -2.1, -3.7)
MOMENTS = (-0.4, -0.18, -0.11, -0.08)
STEPS = (1e-8, 1e-4, 0.01, 0.3, 1.0, 3.0, 8.0)


@cache
def derive(name: str) -> Derivation:
    return dn.derive(name)


def shipped(name: str, h: float) -> dict[str, dict[str, float]]:
    """Weights of the shipped rule in floats."""
    record = dn.method(name)
    place = proofs._top(record)
    kernel: Any = TabulatedKernel(MOMENTS) if record.form.rate is None else ExponentialKernel(h, record.form.rate)
    step = place.step(Window(h, PAST[: place.past], kernel, place.known, place.depth, place.last))
    return {row: dict(value) for row, _, value in step.rows()}


def arguments(derivation: Derivation, h: float) -> list[float]:
    record = dn.method(derivation.name)
    values = {"h": h, "beta": record.options.get("beta")}
    values |= {f"u_{j}": u for j, u in enumerate(PAST, start=1)} | {f"M_{k}": m for k, m in enumerate(MOMENTS)}
    return [values[name] for name in derivation.formula.arguments]


def compare(derivation: Derivation, weights: Callable[..., Any]) -> None:
    for h in STEPS:
        expected = shipped(derivation.name, h)
        values = weights(*arguments(derivation, h))
        assert len(values) == len(derivation.entries)
        for (row, source), value in zip(derivation.entries, values, strict=True):
            largest = max(abs(w) for s, w in expected[row].items() if s != "x")
            assert value == pytest.approx(expected[row][source], abs=1e-13 * largest), (row, source, h)


@pytest.mark.parametrize("name", list(dn.methods()))
def test_printed_python_computes_the_shipped_weights(name: str) -> None:
    derivation = derive(name)
    scope: dict[str, Any] = {}
    exec(compile(derivation.code("python"), name, "exec"), scope)
    compare(derivation, scope[derivation.formula.function])


def compiled(derivation: Derivation, library: Path, *values: float) -> list[float]:
    function = getattr(ctypes.CDLL(str(library)), derivation.formula.function)
    function.argtypes = [*[ctypes.c_double] * len(values), ctypes.POINTER(ctypes.c_double)]
    function.restype = None
    result = (ctypes.c_double * len(derivation.entries))()
    function(*values, result)
    return list(result)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("name", list(dn.methods()))
def test_printed_c_compiles_cleanly_and_computes_the_shipped_weights(name: str, tmp_path: Path) -> None:
    derivation = derive(name)
    source, library = tmp_path / "weights.c", tmp_path / "weights.so"
    source.write_text(derivation.code("c"), encoding="utf-8")
    command = [
        "cc",
        "-std=c99",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        str(source),
        "-o",
        str(library),
        "-lm",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    compare(derivation, partial(compiled, derivation, library))


def test_a_wrong_weight_in_printed_code_would_be_seen() -> None:
    derivation = derive("eab_2")
    scope: dict[str, Any] = {}
    exec(derivation.code("python"), scope)
    with pytest.raises(AssertionError):
        compare(derivation, lambda *values: [1.01 * w for w in scope["eab_2_weights"](*values)])


def test_unknown_languages_are_refused() -> None:
    with pytest.raises(ValueError, match="language='cobol'"):
        derive("ddim").code("cobol")


def test_formulas_look_like_those_of_the_papers() -> None:
    two = derive("dpmpp_2m").latex()
    assert r"x_{n+1} &= \frac{\sigma_{n+1}}{\sigma_{n}}\, x_n + \alpha_{n+1}" in two
    assert r"\varphi_{1}" in two
    assert "D_{n-1}" in two
    three = derive("dpm_solver_3").latex()
    assert r"- \sigma_{n+\frac{1}{3}}" in three
    assert r"\epsilon(X_{3})" in three
    assert r"\bar{\epsilon}_{n+1} &=" in derive("ghvb_2.8").latex()


@pytest.mark.parametrize("name", list(dn.methods()))
def test_formulas_are_balanced(name: str) -> None:
    text = derive(name).latex()
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")
