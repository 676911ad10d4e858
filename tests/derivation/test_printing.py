"""Printed code computes the shipped weights; printed formulas have the papers' shape."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

import diffnum as dn
from diffnum.forms import ExponentialKernel, TabulatedKernel
from diffnum.phi import phi
from diffnum.proofs import Derivation
from diffnum.proofs.steps import top_placement
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
    place = top_placement(record)
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


RUST_MAIN = """
fn main() {{
    let line = std::env::args().nth(2).unwrap_or_default();
    let a: Vec<f64> = line.split_whitespace().map(|v| v.parse().expect("a number")).collect();
    let name = std::env::args().nth(1).expect("a name");
    let w: Vec<f64> = match name.as_str() {{
{arms}
        _ => panic!("unknown"),
    }};
    println!("{{}}", w.iter().map(|v| format!("{{v:e}}")).collect::<Vec<_>>().join(" "));
}}
"""


@pytest.fixture(scope="module")
def rust_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All printed Rust in one program: ``program NAME "h u_1 ..."`` prints the weights."""
    folder = tmp_path_factory.mktemp("rust")
    parts, arms = [], []
    for i, name in enumerate(dn.methods()):
        derivation = derive(name)
        given = ", ".join(f"a[{j}]" for j in range(len(derivation.formula.arguments)))
        parts.append(f"mod m{i} {{\n{derivation.code('rust')}}}")
        arms.append(f'        "{name}" => m{i}::{derivation.formula.function}({given}).to_vec(),')
    source, program = folder / "weights.rs", folder / "weights"
    source.write_text("\n".join([*parts, RUST_MAIN.format(arms="\n".join(arms))]), encoding="utf-8")
    command = ["rustc", "--edition", "2021", "-D", "warnings", "-o", str(program), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("rustc") is None, reason="no Rust compiler")
def test_printed_rust_compiles_without_warnings_and_computes_the_shipped_weights(rust_program: Path) -> None:
    def run(name: str, *values: float) -> list[float]:
        command = [str(rust_program), name, " ".join(map(repr, values))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [float(word) for word in done.stdout.split()]

    for name in dn.methods():
        compare(derive(name), partial(run, name))


def translated(derivation: Derivation) -> Callable[..., Any]:
    """Printed Julia as a Python function: bodies of assignments and one list differ in two operators only."""
    body = derivation.code("julia").partition(f"function {derivation.formula.function}")[2]
    lines = body.replace("^", "**").replace("//", "/").replace("Float64[", "[").splitlines()
    scope: dict[str, Any] = {"phi": phi, "exp": math.exp}
    head = f"def {derivation.formula.function}{lines[0]}:"
    exec("\n".join([head, *lines[1 : lines.index("end")]]), scope)
    return scope[derivation.formula.function]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", list(dn.methods()))
def test_printed_julia_is_grammatical_and_its_arithmetic_gives_the_shipped_weights(name: str) -> None:
    grammar = pytest.importorskip("tree_sitter_julia")
    tree_sitter = pytest.importorskip("tree_sitter")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    derivation = derive(name)
    assert not parser.parse(derivation.code("julia").encode()).root_node.has_error
    assert parser.parse(derivation.code("julia").replace("\nend\n", "\n").encode()).root_node.has_error
    compare(derivation, translated(derivation))


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
