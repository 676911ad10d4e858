"""Printed weights in programming languages: sympy's printers, and the phi functions that the code needs.

Each printer gets common subexpressions and results, and writes one stand-alone function. The phi functions are summed
as Taylor series near zero and taken from their closed form elsewhere, so that small steps keep their digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

import sympy
from sympy.printing.c import C99CodePrinter
from sympy.printing.codeprinter import CodePrinter
from sympy.printing.julia import JuliaCodePrinter
from sympy.printing.pycode import PythonCodePrinter
from sympy.printing.rust import RustCodePrinter

from diffnum.derivation.algebra.symbols import phi

__all__ = ["LANGUAGES", "Printable", "Printer"]


class Printable(Protocol):
    """What a printer must know of a formula."""

    @property
    def function(self) -> str:
        """Name of the printed function."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of its arguments."""

    @property
    def notes(self) -> list[str]:
        """What it takes and returns, line by line."""

    def latex(self) -> str:
        """The formula, typeset."""


Shared: TypeAlias = Sequence[tuple[Any, Any]]
"""Common subexpressions, (name, value), in the order of their use."""

Printer: TypeAlias = Callable[[Printable, Shared, Sequence[sympy.Expr]], str]


def _phi_call(printer: Any, expression: Any) -> str:
    """``phi(k, z)`` with a plain integer k."""
    return f"phi({int(expression.args[0])}, {printer._print(expression.args[1])})"


class _Python(PythonCodePrinter):  # type: ignore[misc]
    _print_phi = _phi_call


class _C(C99CodePrinter):  # type: ignore[misc]
    _print_phi = _phi_call


class _Julia(JuliaCodePrinter):  # type: ignore[misc]
    _print_phi = _phi_call

    def doprint(self, expression: Any, assign_to: Any = None) -> str:
        """Print for scalars: sympy's printer writes every operation element by element."""
        text = super().doprint(expression, assign_to)
        return re.sub(r" ?\.\^ ?", "^", re.sub(r" ?\.([*/]) ?", r" \1 ", text))


class _Rust(RustCodePrinter):  # type: ignore[misc]
    # every number is written as f64; sympy's own casts lose the brackets of sums (1.14: 2*h*(u - 2) loses them)
    _print_phi = _phi_call
    _print_Mul = CodePrinter._print_Mul
    _print_Add = CodePrinter._print_Add

    def _print_Integer(self, expression: Any, _type: bool = False) -> str:
        return f"{int(expression)}.0"

    def _print_Rational(self, expression: Any) -> str:
        return f"{int(expression.p)}.0/{int(expression.q)}.0"

    def _print_Pow(self, expression: Any) -> str:
        base = self._print(expression.base)
        if not expression.base.is_Symbol:
            base = f"({base})"
        return f"{base}.recip()" if expression.exp == -1 else f"{base}.powi({int(expression.exp)})"

    def _print_exp(self, expression: Any) -> str:
        return f"({self._print(expression.args[0])}).exp()"


_PYTHON_PHI = '''def phi(k, z):
    """phi_k(z): Taylor series near zero, closed form elsewhere."""
    if k == 0:
        return math.exp(z)
    if abs(z) < 1.1 * k + 1.2:
        total = 1.0
        for n in range(k + 48, k, -1):
            total = 1.0 + z * total / n
        return total / math.factorial(k)
    rational = 0.0
    for j in range(k):
        rational = (rational + 1.0 / math.factorial(j)) / z
    return math.exp(z) / z**k - rational
'''

_C_PHI = """static double phi(int k, double z)
{
    /* phi_k(z): Taylor series near zero, closed form elsewhere */
    double total = 1.0, rational = 0.0, factorial = 1.0;
    int j;
    if (k == 0)
        return exp(z);
    if (fabs(z) < 1.1 * k + 1.2) {
        for (j = k + 48; j > k; --j)
            total = 1.0 + z * total / j;
        for (j = 2; j <= k; ++j)
            total /= j;
        return total;
    }
    for (j = 0; j < k; ++j) {
        if (j > 0)
            factorial *= j;
        rational = (rational + 1.0 / factorial) / z;
    }
    return exp(z) / pow(z, k) - rational;
}
"""

_JULIA_PHI = '''"""phi_k(z): Taylor series near zero, closed form elsewhere."""
function phi(k, z)
    if k == 0
        return exp(z)
    end
    if abs(z) < 1.1 * k + 1.2
        total = 1.0
        for n in k+48:-1:k+1
            total = 1.0 + z * total / n
        end
        return total / factorial(k)
    end
    rational = 0.0
    for j in 0:k-1
        rational = (rational + 1.0 / factorial(j)) / z
    end
    return exp(z) / z^k - rational
end
'''

_RUST_PHI = """/// phi_k(z): Taylor series near zero, closed form elsewhere.
fn phi(k: i32, z: f64) -> f64 {
    if k == 0 {
        return z.exp();
    }
    if z.abs() < 1.1 * f64::from(k) + 1.2 {
        let mut total = 1.0;
        for n in (k + 1..=k + 48).rev() {
            total = 1.0 + z * total / f64::from(n);
        }
        return (2..=k).fold(total, |value, n| value / f64::from(n));
    }
    let (mut rational, mut factorial) = (0.0, 1.0);
    for j in 0..k {
        factorial *= f64::from(j.max(1));
        rational = (rational + 1.0 / factorial) / z;
    }
    z.exp() / z.powi(k) - rational
}
"""


def _uses(expressions: Iterable[sympy.Expr], *functions: type) -> bool:
    return any(e.has(*functions) for e in expressions)


def _every(shared: Shared, results: Sequence[sympy.Expr]) -> list[sympy.Expr]:
    return [*(value for _, value in shared), *results]


def _python(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:
    show = _Python({"fully_qualified_modules": True}).doprint
    notes = "\n\n    ".join([formula.notes[0], "\n    ".join(formula.notes[1:])])
    every = _every(shared, results)
    head = ["import math", "", ""] if _uses(every, phi, sympy.exp) else []
    head += [_PYTHON_PHI, ""] if _uses(every, phi) else []
    return "\n".join(
        [
            *head,
            f"def {formula.function}({', '.join(formula.arguments)}):",
            f'    """{notes}\n    """',
            *(f"    {name} = {show(value)}" for name, value in shared),
            "    return (",
            *(f"        {show(value)}," for value in results),
            "    )",
            "",
        ]
    )


def _c(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:
    show = _C().doprint
    arguments = ", ".join(f"double {name}" for name in formula.arguments)
    return "\n".join(
        [
            "#include <math.h>",
            "",
            *([_C_PHI] if _uses(_every(shared, results), phi) else []),
            "/* " + "\n * ".join(formula.notes) + "\n */",
            f"void {formula.function}({arguments}, double *w)",
            "{",
            *(f"    const double {name} = {show(value)};" for name, value in shared),
            *(f"    w[{i}] = {show(value)};" for i, value in enumerate(results)),
            "}",
            "",
        ]
    )


def _julia(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:
    show = _Julia().doprint
    notes = "\n\n".join([formula.notes[0], "\n".join(formula.notes[1:])])
    return "\n".join(
        [
            *([_JULIA_PHI] if _uses(_every(shared, results), phi) else []),
            f'"""\n{notes}\n"""',
            f"function {formula.function}({', '.join(formula.arguments)})",
            *(f"    {name} = {show(value)}" for name, value in shared),
            "    return Float64[",
            *(f"        {show(value)}," for value in results),
            "    ]",
            "end",
            "",
        ]
    )


def _rust(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:
    show = _Rust().doprint
    arguments = ", ".join(f"{name}: f64" for name in formula.arguments)
    return "\n".join(
        [
            *([_RUST_PHI] if _uses(_every(shared, results), phi) else []),
            *(f"/// {line}" for line in formula.notes),
            "#[allow(non_snake_case)]",
            f"pub fn {formula.function.lower()}({arguments}) -> [f64; {len(results)}] {{",
            *(f"    let {name} = {show(value)};" for name, value in shared),
            "    [",
            *(f"        {show(value)}," for value in results),
            "    ]",
            "}",
            "",
        ]
    )


def _latex(formula: Printable, shared: Shared, results: Sequence[sympy.Expr]) -> str:  # noqa: ARG001
    return formula.latex()


LANGUAGES: Final[Mapping[str, Printer]] = MappingProxyType(
    {"python": _python, "c": _c, "julia": _julia, "rust": _rust, "latex": _latex}
)
"""Printers of :meth:`diffnum.derivation.printing.formulas.Formula.code` by language."""
