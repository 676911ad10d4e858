"""Printed programs of every method compute the shipped weights, in every language.

Where a compiler is at hand all programs of a language are compiled in one go, as strictly as its standard allows, and
run; the same texts are always read by the interpreters of :mod:`tests.derivation.printing.interpreters`.
"""

from __future__ import annotations

import ctypes
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sympy

from diffnum.derivation.algebra.symbols import phi
from diffnum.derivation.printing.languages import _C, _JULIA, _PYTHON, _RUST, Dialect
from tests.derivation.printing.cases import STEPS, arguments, derive, expected, names, printed_values, shipped
from tests.derivation.printing.interpreters import (
    c_program,
    julia_is_grammatical,
    julia_program,
    latex_row,
    rust_program,
)

Program = Callable[..., Sequence[float]]
NAMES = names()
TOLERANCE = 1e-13
"""Relative to the largest weight of the row, at steps from 1e-8 to 20."""


def check(name: str, program: Program) -> None:
    for h in STEPS:
        values = program(*arguments(name, h))
        wanted = list(expected(name, h))
        assert len(values) == len(wanted)
        for (row, source, weight, largest), value in zip(wanted, values, strict=True):
            assert abs(value - weight) <= TOLERANCE * max(largest, abs(weight)), (name, row, source, h, value, weight)


def python_program(name: str) -> Program:
    scope: dict[str, Any] = {}
    exec(compile(derive(name).code("python"), name, "exec"), scope)
    return scope[derive(name).formula.function]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_printed_python_computes_the_shipped_weights(name: str) -> None:
    check(name, python_program(name))


@pytest.mark.parametrize("name", NAMES)
def test_printed_c_reads_as_the_shipped_weights(name: str) -> None:
    check(name, c_program(derive(name).code("c"), derive(name).formula.function))


@pytest.mark.parametrize("name", NAMES)
def test_printed_rust_reads_as_the_shipped_weights(name: str) -> None:
    check(name, rust_program(derive(name).code("rust"), derive(name).formula.function))


@pytest.mark.parametrize("name", NAMES)
def test_printed_julia_is_grammatical_and_runs_to_the_shipped_weights(name: str) -> None:
    text = derive(name).code("julia")
    assert not julia_is_grammatical(text.replace("\nend\n", "\n"))
    check(name, julia_program(text, derive(name).formula.function))


# -- compilers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def c_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """All printed C in one library; each text keeps its own phi."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: the programs are read by the interpreter above")
    folder = tmp_path_factory.mktemp("c")
    source, library = folder / "weights.c", folder / "weights.so"
    parts = [f"#define phi phi_{i}\n{derive(name).code('c')}\n#undef phi\n" for i, name in enumerate(NAMES)]
    source.write_text("".join(parts), encoding="utf-8")
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wshadow", "-Wdouble-promotion", "-Werror"]
    command = ["gcc", *strict, "-O0", "-shared", "-fPIC", str(source), "-o", str(library), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    return ctypes.CDLL(str(library))


def test_printed_c_is_iso_c99_and_computes_the_shipped_weights(c_library: ctypes.CDLL) -> None:
    for name in NAMES:
        function = getattr(c_library, derive(name).formula.function)
        count = len(derive(name).formula.arguments)
        function.argtypes = [*[ctypes.c_double] * count, ctypes.POINTER(ctypes.c_double)]
        function.restype = None

        def run(*values: float, name: str = name, function: Any = function) -> list[float]:
            result = (ctypes.c_double * len(derive(name).entries))()
            function(*values, result)
            return list(result)

        check(name, run)


RUST_MAIN = """
fn main() {{
    for line in std::io::stdin().lines() {{
        let line = line.expect("a line");
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        let a: Vec<f64> = words.map(|v| v.parse().expect("a number")).collect();
        let w: Vec<f64> = match name {{
{arms}
            _ => panic!("unknown"),
        }};
        println!("{{}}", w.iter().map(|v| format!("{{v:e}}")).collect::<Vec<_>>().join(" "));
    }}
}}
"""


@pytest.fixture(scope="module")
def rust_answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, tuple[float, ...]], list[float]]:
    """What all printed Rust answers, compiled into one program that is run once."""
    if shutil.which("rustc") is None:
        pytest.skip("no rustc: the programs are read by the interpreter above")
    folder: Path = tmp_path_factory.mktemp("rust")
    parts, arms = [], []
    for i, name in enumerate(NAMES):
        formula = derive(name).formula
        given = ", ".join(f"a[{j}]" for j in range(len(formula.arguments)))
        parts.append(f"mod m{i} {{\n{derive(name).code('rust')}}}")
        arms.append(f'            "{name}" => m{i}::{formula.function.lower()}({given}).to_vec(),')
    source, program = folder / "weights.rs", folder / "weights"
    source.write_text("\n".join([*parts, RUST_MAIN.format(arms="\n".join(arms))]), encoding="utf-8")
    command = ["rustc", "--edition", "2021", "-D", "warnings", "-o", str(program), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    asked = [(name, tuple(arguments(name, h))) for name in NAMES for h in STEPS]
    lines = "".join(f"{name} {' '.join(map(repr, values))}\n" for name, values in asked)
    told = subprocess.run([str(program)], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    return {key: [float(w) for w in line.split()] for key, line in zip(asked, told, strict=True)}


def test_printed_rust_compiles_without_warnings_and_computes_the_shipped_weights(
    rust_answers: dict[tuple[str, tuple[float, ...]], list[float]],
) -> None:
    for name in NAMES:
        check(name, lambda *values, name=name: rust_answers[name, values])


# -- LaTeX ---------------------------------------------------------------------------------------------


def typeset_step(name: str, text: str, h: float) -> None:
    """Hold every typeset row against the row made of the shipped weights."""
    formula, rows = derive(name).formula, shipped(name, h)
    values = printed_values(formula, name, h)

    def vector(printed: str) -> float:
        return 0.3 + (hash(printed) % 1009) / 1009  # any number, but the same for the same vector

    lines = [line.strip() for line in text.splitlines()[1:-1]]
    rows_in_print = [n for n in rows if n == "x" or dict(rows[n]) != {next(iter(rows[n])): 1}]
    assert len(lines) == len(rows_in_print)
    for row, line in zip(rows_in_print, lines, strict=True):
        target, _, right = line.removesuffix(r"\\").partition("&=")
        assert target.strip() == formula._target(row)
        found, _ = latex_row(right, values, vector)
        assert found == pytest.approx(_row_value(name, row, values, vector), rel=1e-9), (name, row)


def _row_value(name: str, row: str, values: dict[str, float], vector: Callable[[str], float]) -> float:
    """The row as it is meant: its state scaled, gain times evaluations, sigma times draws."""
    formula, weights = derive(name).formula, shipped(name, H)[row]

    def at(letter: str, node: str | None) -> float:
        index = "n" if node is None else formula._index(node).replace(" ", "")
        return values[rf"\{letter}_{{{index}}}"]

    def scale(node: str | None) -> float:
        both = at("alpha", node) + at("sigma", node)
        alpha, sigma = at("alpha", node), at("sigma", node)
        return {"data": sigma, "velocity": both, "drift": 1.0}.get(formula.form, alpha)

    def evaluated(source: str) -> float:
        printed = (
            "y_{n}"
            if source == "x"
            else formula._evaluation(source).replace(" ", "")
            if source[0] != "z"
            else f"z_{{{source[1:]}}}"
        )
        return 1.0 if source == "one" else vector(printed)

    inside = sum(float(w) * evaluated(s) for s, w in weights.items() if s[0] not in "xz")
    if row not in formula.nodes:
        return inside + float(weights.get("x", 0)) * evaluated("x")
    both = at("alpha", row) + at("sigma", row)
    gain = {
        "data": at("alpha", row), "noise": -at("sigma", row), "velocity": both, "drift": 1.0
    }.get(formula.form, at("alpha", row))  # fmt: skip
    state = float(weights["x"]) * scale(row) / scale(None) * evaluated("x")
    noise = sum(float(w) * evaluated(s) for s, w in weights.items() if s[0] == "z")
    return state + gain * inside + at("sigma", row) * noise


H = 0.3


@pytest.mark.parametrize("name", NAMES)
def test_typeset_formulas_read_as_the_shipped_step(name: str) -> None:
    typeset_step(name, derive(name).latex(), H)


def test_a_decay_that_is_typeset_twice_would_be_seen() -> None:
    text = derive("sde_dpmpp_2m").latex()
    twice = text.replace(r"e^{- h \eta^{2}}\, \frac", r"e^{- h \eta^{2}}\, e^{- h \eta^{2}}\, \frac")
    assert twice != text
    with pytest.raises(AssertionError):
        typeset_step("sde_dpmpp_2m", twice, H)


# -- negative controls and the writer itself ---------------------------------------------------------------


def test_a_wrong_weight_in_printed_code_would_be_seen() -> None:
    program = python_program("eab_2")
    with pytest.raises(AssertionError):
        check("eab_2", lambda *values: [1.000001 * w for w in program(*values)])


@pytest.mark.parametrize(
    ("language", "program", "root"),
    [("c", c_program, r"sqrt\(2\.0\)\*"), ("rust", rust_program, r"f64::sqrt\(2\.0\)\*")],
)
def test_a_root_that_is_lost_would_be_seen(language: str, program: Any, root: str) -> None:
    text = derive("sde_dpmpp_2m").code(language)
    wrong = re.sub(root, "", text)
    assert wrong != text
    with pytest.raises(AssertionError):
        check("sde_dpmpp_2m", program(wrong, derive("sde_dpmpp_2m").formula.function))


def test_the_interpreter_of_c_cuts_off_quotients_of_whole_numbers() -> None:
    text = "void f_weights(double h, double *w)\n{\n    w[0] = %s*h;\n}"
    assert c_program(text % "1/2", "f_weights")(3.0) == [0.0]
    assert c_program(text % "1.0/2.0", "f_weights")(3.0) == [1.5]


@pytest.mark.parametrize("dialect", [_PYTHON, _C, _JULIA, _RUST])
@pytest.mark.parametrize("what", [sympy.sin(1), sympy.cbrt(2), sympy.pi, sympy.Symbol("x") ** sympy.Symbol("y")])
def test_what_no_program_has_is_refused(dialect: Dialect, what: sympy.Expr) -> None:
    with pytest.raises(TypeError, match="no place in a printed program"):
        dialect.write(what)


def test_brackets_stand_where_they_are_needed() -> None:
    a, b, c = sympy.symbols("a b c")
    cases = {
        -(a + b) * c: "c*(-a - b)",
        a / (b * c): "a/(b*c)",
        a / (b + c) ** 2: "a/(b + c)**2",
        sympy.sqrt(a + b) ** 3: "math.sqrt(a + b)**3",
        1 / sympy.sqrt(2 * a): None,
        sympy.exp(-a / 2) * phi(1, -a - b): "math.exp(-a/2)*phi(1, -a - b)",
        sympy.Rational(-3, 4): "-3/4",
        a - sympy.Rational(1, 2): "a - 1/2",
        (-a) ** 3 * b: "-b*a**3",
        (a - b) ** 2: "(a - b)**2",
    }
    for expression, text in cases.items():
        written = _PYTHON.write(expression)
        assert text is None or written == text, (written, text)
        numbers = {"a": 0.7, "b": 0.4, "c": 1.9, "math": math, "phi": lambda k, z: (math.exp(z) - 1) / z}
        exact = expression.replace(phi, lambda k, z: (sympy.exp(z) - 1) / z).subs({a: 0.7, b: 0.4, c: 1.9})
        assert eval(written, numbers) == pytest.approx(float(exact), rel=1e-14)
